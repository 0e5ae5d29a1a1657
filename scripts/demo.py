"""The main job from end to end on this desk: pictures, `train`, the artifact, `serve`, a question over HTTP.

demo.py                    makes a small folder of pictures and trains from scratch, in about a minute
demo.py --data FOLDER      uses train/valid/test/<class>/<picture> and the product's own defaults
"""

import argparse
import json
import mimetypes
import re
import shutil
import socket
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from desk import DeskError, Running, Stopped, raise_on_signals, run, running
from local import channels_of, pairs
from sample_pictures import make_pictures
from ways import OUT, Way, choose_way, lay_out

STEPS = 5
# From scratch on 180 drawn pictures in about half a minute; right about nine times in ten.
SMALL_JOB = {
    "architecture": "resnet18",
    "pretrained": "false",
    "freeze_backbone": "false",
    "image_size": "64",
    "epochs": "12",
    "batch_size": "32",
    "learning_rate": "0.003",
    "schedule": "one_cycle",
    "augmentation": "light",
}
READY_WITHIN = 180
# Straight to the loopback address, whatever proxy the desk uses for the world outside.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def step(number: int, text: str) -> None:
    """Say which step begins."""
    print(f"\n[{number}/{STEPS}] {text}", flush=True)


def show_path(path: Path) -> str:
    """A path as the user would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def pictures(data: str, place: Path) -> str:
    """The folder of pictures: the user's, or a new one of drawn things."""
    if data:
        return data
    made = make_pictures(place, {"train": 30, "valid": 8, "test": 8})
    print(f"made {made} pictures of drawn things in {show_path(place)}")
    return str(place)


def train(way: Way, base: Path, channels: Mapping[str, Path], hyperparameters: Mapping[str, str]) -> float:
    """Train through the `train` command; the seconds it took."""
    lay_out(base, hyperparameters, channels, way.host)
    start = time.monotonic()
    code = run(way.train(base, channels))
    if code != 0:
        raise DeskError(f"`train` ended with exit code {code}; its last lines above say why")
    return time.monotonic() - start


def pack(model: Path, archive: Path) -> Path:
    """The content of the model directory as SageMaker packs it."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(model.iterdir()):
            tar.add(path, arcname=path.name)
    return archive


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET of the address is answered with 200."""
    try:
        with HTTP.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_until_ready(server: Running, url: str, log: Path) -> float:
    """Wait for /ping to say 200; the seconds it took."""
    start = time.monotonic()
    while not answers(f"{url}/ping"):
        waited = time.monotonic() - start
        if server.process.poll() is not None or waited > READY_WITHIN:
            reason = "took too long" if server.process.poll() is None else "ended before it was ready"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise DeskError(f"`serve` {reason}; the end of its log, {show_path(log)}:\n{tail}")
        time.sleep(0.2)
    return time.monotonic() - start


def pick_picture(data: Path) -> Path:
    """One picture that training did not see, when the folder has any: always the same one."""
    for split in ("test", "valid", "train"):
        files = sorted(path for path in (data / split).glob("*/*") if mimetypes.guess_type(path.name)[0])
        if files:
            return files[len(files) // 2]
    raise DeskError(f"{data} holds no test/<class>/<picture> to ask about")


def ask_about(picture: Path, url: str) -> dict[str, list[str] | list[float]]:
    """POST one picture to /invocations; the answer."""
    kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
    request = urllib.request.Request(f"{url}/invocations", picture.read_bytes(), {"Content-Type": kind})
    try:
        with HTTP.open(request, timeout=60) as response:
            answer: dict[str, list[str] | list[float]] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        raise DeskError(f"/invocations answered {error.code} to {picture}: {body}") from error


def chart(labels: list[str], probabilities: list[float]) -> str:
    """Labels and probabilities, one small bar each."""
    width = max(len(label) for label in labels)
    rows = zip(labels, probabilities, strict=True)
    return "\n".join(f"  {label:<{width}}  {share:6.1%}  {'█' * round(30 * share)}".rstrip() for label, share in rows)


def ask(server_url: str, picture: Path) -> None:
    """Ask about a picture and print the answer beside the truth."""
    start = time.monotonic()
    answer = ask_about(picture, server_url)
    took = time.monotonic() - start
    print(f"picture: {show_path(picture)}")
    print(f"truth:   {re.sub(r'^[0-9]+[.]', '', picture.parent.name)}\nanswer, in {1000 * took:.0f} ms:")
    print(chart([str(label) for label in answer["topk_labels"]], [float(p) for p in answer["topk_probs"]]))


def say_what_next(base: Path, archive: Path, picture: Path) -> None:
    """The next commands to try."""
    kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
    print(f"""
The artifact: {show_path(archive)} (what SageMaker would put into S3), unpacked in {show_path(base / "model")}

Try next:
  make serve MODEL={show_path(base / "model")}
  curl -H 'Content-Type: {kind}' --data-binary @{show_path(picture)} http://127.0.0.1:8080/invocations
  make train DATA=your/pictures WEIGHTS=your/resnet18.pth
  make push REGION=us-east-1""")


def demo(options: argparse.Namespace) -> None:
    """The five steps."""
    base = OUT / "demo"
    hyperparameters = ({} if options.data or options.pretrained else SMALL_JOB) | pairs(options.hyperparameter)
    way = choose_way()
    print(f"This demo runs {way.description}.")
    shutil.rmtree(base, ignore_errors=True)

    step(1, "the pictures")
    channels = channels_of(pictures(options.data, OUT / "pictures"), options.pretrained)
    picture = pick_picture(channels["training"])

    step(2, "`train`")
    took = train(way, base, channels, hyperparameters)

    step(3, "the artifact")
    archive = pack(base / "model", base / "model.tar.gz")
    print(f"trained in {took:.0f} s; {show_path(archive)}, {archive.stat().st_size / 1e6:.1f} MB")

    step(4, "`serve`")
    port, log = free_port(), base / "serve.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output, running(way.serve(base / "model", port), output) as server:
        print(f"{url}/ping says 200 after {wait_until_ready(server, url, log):.1f} s; log in {show_path(log)}")
        step(5, "one picture to /invocations")
        ask(url, picture)
    say_what_next(base, archive, picture)


def main() -> int:
    """Run the demo; a user's error is one sentence."""
    parser = argparse.ArgumentParser(
        prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", help="folder with train/, valid/ and test/")
    parser.add_argument("--pretrained", default="", help="file or folder with a pretrained backbone")
    parser.add_argument("--hyperparameter", action="append", default=[], metavar="NAME=VALUE")
    raise_on_signals()
    try:
        demo(parser.parse_args())
    except (DeskError, OSError) as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
