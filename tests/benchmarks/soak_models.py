"""Loads and unloads a model again and again in a real multi-model `serve`; writes soak_models.md.

Usage: `ENGINE=none python tests/benchmarks/soak_models.py MODEL_DIR` (or with an engine: in the image).
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import doors
from sample_pictures import make_pictures
from server import Server, serving

MIB = 1 << 20


def cycle(server: Server, where: str, picture: bytes) -> float:
    """Load, ask, unload; the seconds it took."""
    start = time.monotonic()
    body = json.dumps({"model_name": "soaked", "url": where})
    headers = {"Content-Type": "application/json"}
    statuses = [
        server.ask("POST", "/models", body, headers).status,
        server.invoke(picture, path="/models/soaked/invoke").status,
        server.ask("DELETE", "/models/soaked").status,
    ]
    assert statuses == [200, 200, 200], (statuses, server.log[-2000:])
    return time.monotonic() - start


def row(done: int, server: Server) -> str:
    """One line of the table: what is left after so many cycles."""
    time.sleep(1.5)  # what was unloaded is taken leave of each second
    lasting = sorted(server.lasting(), key=lambda process: "java" in process.words)
    cells = [f"{process.memory / MIB:.0f} MiB, {process.files} files" for process in lasting]
    return f"| {done} | {' | '.join(cells)} | {len(server.workers())} |"


def soak(model: Path, cycles: int, every: int, folder: Path) -> tuple[list[str], list[float]]:
    """Run the cycles; gives the table's rows and the seconds of each cycle."""
    make_pictures(folder / "pictures", {"test": 1})
    picture = next((folder / "pictures").rglob("*.png")).read_bytes()
    where = "/opt/ml/model" if doors.ENGINE else str(model)
    rows, seconds = [], []
    with serving(model, folder / "log", environment={"SAGEMAKER_MULTI_MODEL": "true"}) as server:
        server.wait_until_ready()
        for number in range(1, cycles + 1):
            seconds.append(cycle(server, where, picture))
            if number == 5 or number % every == 0:
                rows.append(row(number, server))
                print(rows[-1], flush=True)
    return rows, seconds


def main() -> None:
    """Soak, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a trained model's directory")
    parser.add_argument("--cycles", type=int, default=200)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, seconds = soak(chosen.model.resolve(), chosen.cycles, chosen.cycles // 4, Path(folder))
    where = "in the image" if doors.ENGINE else "from the virtual environment"
    text = f"""# A model loaded and unloaded {chosen.cycles} times

`tests/benchmarks/soak_models.py`, {where}: each cycle loads a model into a multi-model `serve`, asks it
once and unloads it; a cycle takes {statistics.median(seconds):.1f} s (median). What is left after so many cycles:
resident memory and open files of the front door and of Java, and workers.

| cycles | front door | Java | workers |
|---|---|---|---|
"""
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
