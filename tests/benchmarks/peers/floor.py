"""The floor: decode and forward in a loop, with no server. `floor.py MODEL_DIR int8|fp32|eager THREADS PICTURES...`.

Says `ready` when it is; then, for each line of input with a number of seconds, how many pictures it did, and the median
seconds of one.
"""

import statistics
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from image_classifier import images
from image_classifier.contract import Settings
from image_classifier.serving import engines


def main() -> None:
    folder, kind, threads, *pictures = sys.argv[1:]
    settings = Settings.from_environment({"CLASSIFIER_ENGINE": kind})
    engine = engines.load(Path(folder), settings, engines.CPU, int(threads))
    bodies = cycle([Path(path).read_bytes() for path in pictures])
    print("ready", flush=True)
    for line in sys.stdin:
        took, end = [], time.perf_counter() + float(line)
        while (start := time.perf_counter()) < end:
            engine.logits(np.stack([images.read(next(bodies), engine.config.preprocessing, 10**8)]))
            took.append(time.perf_counter() - start)
        print(len(took), statistics.median(took), flush=True)


if __name__ == "__main__":
    main()
