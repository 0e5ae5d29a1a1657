"""`python -m image_classifier.insight.report DIR`: make a job's report anew."""

import argparse
import sys
from pathlib import Path

from image_classifier.errors import UserError
from image_classifier.insight.report import write


def main() -> int:
    """Write the report and say where it is; an error is one sentence."""
    parser = argparse.ArgumentParser(prog="report", description=__doc__)
    parser.add_argument("directory", type=Path, help="output of a training job")
    parser.add_argument("--to", type=Path, help="file to write; report.html beside the job's tables unless given")
    options = parser.parse_args()
    try:
        print(f"report: {write(options.directory, options.to)}", flush=True)
    except (UserError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
