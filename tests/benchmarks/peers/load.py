"""Callers that ask without pause, each on a connection of its own: `wrk`, which takes little of the servers' cores."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Seen:
    """What the callers saw in one stretch.

    Args:
        count: answers.
        rate: answers a second.
        p50: seconds.
        p99: seconds.
        bad: answers that are not 200, and connections that broke.
        callers_cpu: cores that the callers themselves took.
        server_cpu: seconds of CPU that the server took.
    """

    count: int
    rate: float
    p50: float
    p99: float
    bad: int = 0
    callers_cpu: float = 0.0
    server_cpu: float = 0.0


def load(port: int, path: str, bodies: Sequence[Path], media_type: str, callers: int, seconds: float) -> Seen:
    """Ask for so long with so many callers; bodies are taken in turn."""
    words = ["wrk", "--threads", "1", "--connections", str(callers), "--duration", f"{max(1, round(seconds))}s"]
    words += ["--timeout", "120s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}{path}", "--", media_type]
    with subprocess.Popen([*words, *map(str, bodies)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"wrk ended with {process.returncode}: {told}")
    said = json.loads(told.splitlines()[-1])
    count, lasted = said["requests"], said["lasted"] / 1e6
    cpu = (usage.ru_utime + usage.ru_stime) / lasted
    return Seen(count, count / lasted, said["p50"] / 1e6, said["p99"] / 1e6, said["bad"], cpu)
