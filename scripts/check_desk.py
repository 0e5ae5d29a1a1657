"""Whether .venv can be made here: run by `make setup` before it downloads anything."""

import importlib.util
import platform
import shutil
import sys
import sysconfig
from pathlib import Path


def problem() -> str | None:
    """What is missing and what to do about it, in one sentence; None when nothing is missing."""
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        return (
            f"the locked packages are for Linux x86_64 and this is {system}; use the image: start Docker, `make demo`"
        )
    if sys.version_info[:2] != (3, 11):
        return (
            f"Python 3.11 is needed and {sys.executable} is {platform.python_version()}; say PYTHON=path/to/python3.11"
        )
    if not importlib.util.find_spec("ensurepip"):
        return f"{sys.executable} cannot make virtual environments; install its venv package (Debian: python3-venv)"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not shutil.which("gcc") or not headers.exists():
        return "a few packages come as source; install a C compiler and Python's headers (Debian: gcc, python3-dev)"
    return None


def main() -> int:
    """Print the problem, if any."""
    found = problem()
    if found:
        print(f"make setup: {found}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
