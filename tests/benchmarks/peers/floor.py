"""The floor: decode and forward in a loop, with no server. `floor.py MODEL_DIR int8|fp32|eager THREADS PICTURES...`.

Says `ready` when it is; then, for each line of input with a number of seconds, as JSON: how many pictures it did, the
median and 99th percentile of one in seconds, and the seconds of CPU.
"""

import json
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
        took, end, cpu = [], time.perf_counter() + float(line), time.process_time()
        while (start := time.perf_counter()) < end:
            engine.logits(np.stack([images.read(next(bodies), engine.config.preprocessing, 10**8)]))
            took.append(time.perf_counter() - start)
        p99 = statistics.quantiles(took, n=100, method="inclusive")[98]
        told = {"count": len(took), "p50": statistics.median(took), "p99": p99, "cpu": time.process_time() - cpu}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
