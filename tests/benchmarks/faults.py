"""Plants faults in small, real training runs and asks the rules; healthy runs must stay free of issues.

    python tests/benchmarks/faults.py                   the reported seeds; writes faults.md
    python tests/benchmarks/faults.py --quick           one seed, nothing written
    python tests/benchmarks/faults.py --tuning          the seeds that thresholds were chosen on

Everything is made here: drawn pictures, narrow networks, the product's own training loop. Needs no data and no network.
"""

import argparse
import io
import logging
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "scripts")]

from fault_cases import lab, table  # noqa: E402
from fault_cases.cases import ALL, ALONE  # noqa: E402

TUNING = (0, 1)
REPORTED = (100, 101)


def one(task: tuple[str, int, str]) -> lab.Result:
    """Run one case with one seed in a directory of its own."""
    name, seed, keep = task
    logging.disable(logging.INFO)
    folder = Path(keep) / f"{name.replace(' ', '_').replace('%', '')}-{seed}" if keep else Path(tempfile.mkdtemp())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with redirect_stdout(io.StringIO()):
            return lab.run(ALL[name], seed, folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def measure(names: Sequence[str], seeds: Sequence[int], processes: int, keep: str, log: Path) -> list[lab.Result]:
    """All runs: those that measure the machine one by one, the others side by side; without those in the log."""
    results = lab.read(log)
    done = {(result.case, result.seed) for result in results}
    tasks = [(name, seed, keep) for name in names for seed in seeds if (name, seed) not in done]
    together, alone = ([task for task in tasks if (task[0] in ALONE) == kind] for kind in (False, True))
    context = multiprocessing.get_context("spawn")
    for tasks, count in ((together, processes), (alone, 1)):
        if tasks:
            with context.Pool(count, maxtasksperchild=30) as pool:
                for result in pool.imap(one, tasks):
                    results.append(result)
                    lab.append(log, result)
                    print(table.line(result), flush=True)
    return results


def main() -> int:
    """Read the command line, run, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, nothing written")
    parser.add_argument("--tuning", action="store_true", help="the seeds that thresholds were chosen on")
    parser.add_argument("--only", default="", help="cases whose name this regular expression finds")
    parser.add_argument("--seeds", type=int, nargs="+", help="other seeds; nothing written")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", default="", help="keep the runs' directories here")
    parser.add_argument(
        "--log", type=Path, default=Path(os.devnull), help="results go here too; what is in it is not run"
    )
    options = parser.parse_args()
    seeds = options.seeds or (TUNING if options.tuning else REPORTED[:1] if options.quick else REPORTED)
    names = [name for name in ALL if re.search(options.only, name)]
    results = measure(names, seeds, options.processes, options.keep, options.log)
    text = table.markdown(results, seeds)
    print(text)
    if tuple(seeds) == REPORTED and not options.only:
        (HERE / "faults.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
