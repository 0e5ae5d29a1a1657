"""Runs a function in several processes that form a world: `together(2, "module:function", folder)`."""

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from image_classifier.training import distributed


def together(size: int, function: str, folder: Path) -> None:
    """Call `function(world, folder)` in `size` processes; fails when one of them does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": "0"}
    common["LOCAL_WORLD_SIZE"] = str(size)  # they share the cores
    paths = os.pathsep.join([str(Path(__file__).parent / "unit"), *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, function, str(folder)],
            env={**os.environ, **common, "RANK": str(rank), "PYTHONPATH": paths},
        )
        for rank in range(size)
    ]
    assert [process.wait(240) for process in processes] == [0] * size


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    world = distributed.join()
    getattr(importlib.import_module(module), name)(world, Path(sys.argv[2]))
    distributed.leave()
