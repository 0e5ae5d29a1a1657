"""How the kernel ended a process, in words: what a bare number does not tell."""

import signal

_MEANINGS = {
    signal.SIGILL: "it holds instructions that this processor does not have; use another instance type",
    signal.SIGABRT: "a library gave up; the last lines of the log say why",
    signal.SIGBUS: "/dev/shm or a file it read from is too small; use num_workers=0 in its DataLoaders",
    signal.SIGSEGV: "a native library crashed; `python -X faulthandler` names the line",
    signal.SIGKILL: "it may have run out of memory",
    signal.SIGTERM: "it was asked to stop, and did not listen",
}


def of(code: int) -> signal.Signals | None:
    """The signal behind an exit code: -9 as Python has it, 137 as a shell has it; None: it ended by itself."""
    number = -code if code < 0 else code - 128
    known = number in signal.valid_signals() if code < 0 else number in _MEANINGS
    return signal.Signals(number) if known else None


def words(number: signal.Signals) -> str:
    """The signal's name, and what it means where that is known."""
    return f"{number.name}; {_MEANINGS[number]}" if number in _MEANINGS else number.name
