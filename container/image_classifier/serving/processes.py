"""The processes of a model, as the kernel knows them: its workers, and the one that they are forked from."""

from contextlib import suppress
from pathlib import Path

import psutil


def of_model(name: str, folder: Path) -> list[tuple[psutil.Process, list[str]]]:
    """The processes of one model of the server with this private folder, and the words they were started with."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if name in words and str(folder) in words:
                found.append((process, words))
    return found


def child_of(pid: int, name: str) -> int | None:
    """The process that a process has started for a model; None where there is none any more."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            with suppress(psutil.Error):
                if name in child.cmdline():
                    return child.pid
    return None


def lives(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
