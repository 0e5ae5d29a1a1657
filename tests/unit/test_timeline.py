"""The timeline: Chrome's trace format in smdebug's files, read back by smdebug's reader."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from image_classifier.insight import timeline
from image_classifier.insight.timeline import Event, Timeline, trace
from image_classifier.insight.trace import Trace

Run = Callable[..., Any]
READ = """
import json, sys, time
from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from smdebug.profiler.utils import TimeUnits
end = time.time() + 60
events = LocalAlgorithmMetricsReader(sys.argv[1]).get_events(0, end, TimeUnits.SECONDS)
samples = LocalSystemMetricsReader(sys.argv[1]).get_events(0, end, TimeUnits.SECONDS)
print("answer:" + json.dumps({
    "events": [[e.event_phase, e.event_name, e.start_time, e.duration, e.event_args] for e in events],
    "samples": [[s.type, s.name, s.dimension, s.value, s.node_id] for s in samples],
}))
"""


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("framework/pevents/*/*_pythontimeline.json"))


def test_smdebug_reads_events_and_samples(tmp_path: Path, python: Run) -> None:
    from image_classifier.insight.resources import Resources

    line, machine = Timeline(tmp_path, "algo-1"), Resources(tmp_path, "algo-1", interval=0.05)
    machine.start()
    line.step = 7
    started = time.time() - 0.25
    line.record(timeline.step_phase(True), "step", started)
    line.record(timeline.WORKING, timeline.WORKING, started, thread=4711)
    time.sleep(0.2)
    machine.close()
    line.close()
    done = python("-c", READ, str(tmp_path))
    assert done.returncode == 0, done.stderr
    answer = json.loads(next(text for text in done.stdout.splitlines() if text.startswith("answer:"))[7:])
    (step, worker) = sorted(answer["events"], reverse=True)
    assert step[:2] == ["Step:ModeKeys.TRAIN", "step"]
    assert abs(step[2] - started * 1e6) < 10
    assert 0.25e6 <= step[3] < 10e6
    assert step[4]["step_num"] == "7"
    assert (worker[0], worker[4]["pid"]) == ("DataLoaderWorker", 4711)
    names = {(kind, dimension) for kind, _, dimension, *_ in answer["samples"]}
    assert {("cpu", "CPUUtilization"), ("cpu", "I/OWaitPercentage"), ("network", "Algorithm")} <= names
    assert "MemoryUsedPercent" in {name for _, name, *_ in answer["samples"]}
    assert {node for *_, node in answer["samples"]} == {"algo-1"}


def test_it_is_what_chrome_opens() -> None:
    content = json.loads(trace([Event("Forward", 'odd "name"', 100.0, 0.5, 3, 1), Event("Step", "b", 99.0, 2.0, 3, 1)]))
    events = [line for line in content if line["ph"] == "X"]
    assert [event["name"] for event in events] == ['odd "name"', "b"]
    assert [(event["ts"], event["dur"]) for event in events] == [(1_000_000, 500_000), (0, 2_000_000)]
    assert content[0]["args"] == {"start_time_since_epoch_in_micros": 99_000_000}


def test_files_are_written_when_it_is_time(tmp_path: Path) -> None:
    line = Timeline(tmp_path, "algo-1", rotate=0)
    line.record("Forward", "a", time.time() - 1)
    line.spill()
    assert len(files(tmp_path)) == 1
    line.record("Forward", "a", time.time() - 2)
    line.close()
    assert len(files(tmp_path)) == 2


def test_nothing_happened_gives_no_file(tmp_path: Path) -> None:
    Timeline(tmp_path, "algo-1").close()
    assert list(tmp_path.iterdir()) == []


def test_modules_are_timed_until_the_handles_go(tmp_path: Path) -> None:
    line, net = Timeline(tmp_path, "algo-1"), nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    handles = list(line.watch(net))
    net(torch.zeros(1, 2))
    for handle in handles:
        handle.remove()
    net(torch.zeros(1, 2))
    line.close()
    events = [event for event in json.loads(files(tmp_path)[0].read_text()) if event["ph"] == "X"]
    assert [event["name"] for event in events] == ["0", "1.0"]


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    import gzip

    made = Trace(tmp_path, steps=2)
    for _ in range(6):
        made.begin(training=True)
        torch.zeros(3).add(1)
        made.end(training=True)
        made.begin(training=False)
        torch.zeros(3).mul(2)
        made.end(training=False)
    made.close()
    events = json.loads(gzip.decompress((tmp_path / "torch_trace.json.gz").read_bytes()))["traceEvents"]
    assert sum(event["name"] == "aten::add" for event in events) == 2
