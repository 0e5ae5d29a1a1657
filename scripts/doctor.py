"""Checks this desk and the image from outside, and asks the image's own `doctor` about what is inside.

doctor.py [--model FOLDER] [--port 8080] [--json]

Exit code 0: no problem, perhaps warnings; 1: at least one problem; 2: the command line is wrong.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import doctor_checks
from desk import Command, DeskError
from doctor_checks import Finding
from ways import InImage, choose_way

COLOURS = {"ok": 32, "warning": 33, "problem": 31}
Parts = dict[str, list[Finding]]


def examine(model: Path | None, port: int) -> Parts:
    """All findings: of the desk, of the image from outside, and what `doctor` says inside."""
    parts = {"desk": doctor_checks.desk(port)}
    try:
        way = choose_way()
    except DeskError as error:
        return {**parts, "image": [Finding("problem", str(error))]}
    outside = doctor_checks.image(way.engine, way.image) if isinstance(way, InImage) else []
    inside = ask_inside(way.doctor(model))
    return {**parts, **inside, "image": [*outside, *inside.get("image", [])]}


def ask_inside(command: Command) -> Parts:
    """What `doctor` says in the image, or in .venv."""
    environment = {**os.environ, **command.environment}
    try:
        done = subprocess.run(command.argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        return {
            "image": [Finding("problem", f"`doctor` cannot be run ({error})", "bring .venv up to date: `make setup`")]
        }
    try:
        parts = json.loads(done.stdout)["parts"]
        return {name: [Finding(**each) for each in found] for name, found in parts.items()}
    except (ValueError, KeyError, TypeError):
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return {"image": [Finding("problem", f"`doctor` did not run ({said[-1]})", "make it anew with `make build`")]}


def text(parts: Parts, colours: bool) -> str:
    """A line for each finding, its remedy below it, and the sum; as `doctor` writes it."""
    lines = [line for name, found in parts.items() for line in (name, *(_line(each, colours) for each in found), "")]
    every = [finding.status for found in parts.values() for finding in found]
    counts = [every.count(status) for status in COLOURS]
    return "\n".join([*lines, "{} ok, {} warning(s), {} problem(s)".format(*counts)])


def _line(finding: Finding, colours: bool) -> str:
    word = f"{finding.status:<8}"
    coloured = f"\033[{COLOURS[finding.status]}m{word}\033[0m" if colours else word
    return f"  {coloured} {finding.what}" + (f"\n           -> {finding.remedy}" if finding.remedy else "")


def as_json(parts: Parts) -> str:
    """For scripts, in the form of `doctor --json`."""
    found = {finding.status for findings in parts.values() for finding in findings}
    status = next((each for each in ("problem", "warning") if each in found), "ok")
    listed = {name: [asdict(finding) for finding in findings] for name, findings in parts.items()}
    return json.dumps({"status": status, "parts": listed}, ensure_ascii=False, indent=1)


def main() -> int:
    """Examine and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory to look at, for example out/demo/model")
    parser.add_argument("--port", type=int, default=8080, help="where `make serve` would listen")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.model and not options.model.is_dir():
        parser.error(f"--model (MODEL) must be a model directory; {str(options.model)!r} is not there")
    parts = examine(options.model and options.model.resolve(), options.port)
    print(as_json(parts) if options.json else text(parts, sys.stdout.isatty()))
    return int(any(finding.status == "problem" for found in parts.values() for finding in found))


if __name__ == "__main__":
    sys.exit(main())
