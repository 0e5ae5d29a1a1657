"""The hook that watches: it hands every step to the parts that were asked for."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from image_classifier.insight import collections, timeline
from image_classifier.insight.guarded import Guarded
from image_classifier.insight.hook import Course, Wishes
from image_classifier.insight.places import Places
from image_classifier.insight.resources import Resources
from image_classifier.insight.schedule import saving_steps
from image_classifier.insight.timeline import Timeline
from image_classifier.insight.trace import Trace

if TYPE_CHECKING:  # these import smdebug
    from image_classifier.insight.judge import Watch
    from image_classifier.insight.observe import Observer
    from image_classifier.insight.tensorboard import TensorBoard

T = TypeVar("T")
_SAVINGS = 10  # of debug=full without an interval


class WatchingHook:
    """See `hook.Hook`.

    Args:
        places: where to write.
        config: content of `debughookconfig.json`; empty without one.
        wishes: what the job asked for.
    """

    def __init__(self, places: Places, config: dict[str, Any], wishes: Wishes) -> None:
        self._places, self._config, self._wishes = places, config, wishes
        self._observer: Guarded[Observer] = Guarded("SageMaker Debugger: hook", lambda part: part.abandon())
        self._timeline: Guarded[Timeline] = Guarded("Profiler: timeline")
        self._resources: Guarded[Resources] = Guarded("Profiler: system metrics", lambda part: part.close())
        self._trace: Guarded[Trace] = Guarded("Profiler: trace")
        self._board: Guarded[TensorBoard] = Guarded("TensorBoard")
        self._rules: Guarded[Watch] = Guarded("Rules of stop_on:")
        self._module: nn.Module = nn.Identity()
        self._done = {True: 0, False: 0}  # steps of training and of evaluation
        if places.timeline:
            folder = places.timeline
            self._timeline.make(lambda: Timeline(folder, places.node, places.rotate_seconds))
        if places.resources:
            folder = places.resources
            self._resources.make(lambda: Resources(folder, places.node, places.interval))
            self._resources.do(lambda part: part.start())

    def start(self, module: nn.Module, loss: nn.Module, course: Course) -> None:
        """See Hook."""
        self._module = module
        self._done[True] = course.epochs_done * course.steps + course.steps_done
        self._done[False] = course.epochs_done * course.evaluation_steps
        self._observer.make(lambda: self._make_observer(module, loss, course))
        wishes, folder = self._wishes, self._places.timeline or self._places.output / "data"
        if wishes.profile_steps:
            self._trace.make(lambda: Trace(folder / "framework", wishes.profile_steps))
        if wishes.tensorboard:
            self._board.make(self._make_board)
        if wishes.stop_on:
            self._rules.part = self._make_watch()  # an unknown name is the user's to mend

    def _make_watch(self) -> "Watch":
        from image_classifier.insight.judge import Watch

        return Watch(self._places.output, self._wishes.stop_on)

    def _make_observer(self, module: nn.Module, loss: nn.Module, course: Course) -> "Observer":
        from image_classifier.insight import adapter
        from image_classifier.insight.observe import Observer

        config = self._configuration(course)
        if not any(self._done.values()):
            adapter.clear_tensors(self._places.tensors)
        hook = adapter.Adapter.open(config, collections.known(module, loss))
        hook.count_from(train=self._done[True], evaluation=self._done[False])
        if self._timeline.part:
            hook.lead_events_to(self._timeline.part)
        return Observer(hook, module, loss, lambda action: self._observer.do(lambda _: action()))

    def _configuration(self, course: Course) -> dict[str, Any]:
        """In the form of `debughookconfig.json`."""
        folder = self._places.tensors
        if self._config:
            return {**self._config, "LocalPath": str(folder)}
        if self._wishes.debug == "full":
            total = course.steps * course.epochs
            return collections.full(folder, self._wishes.debug_interval or max(1, total // _SAVINGS))
        train = saving_steps(course.steps, course.epochs)
        return collections.light(folder, train, saving_steps(course.evaluation_steps, course.epochs))

    def _make_board(self) -> "TensorBoard":
        from image_classifier.insight.tensorboard import TensorBoard

        return TensorBoard(self._places.tensorboard)

    @contextmanager
    def step(self, training: bool) -> Iterator[None]:
        """See Hook."""
        self._trace.do(lambda part: part.begin(training))
        self._observer.do(lambda part: part.begin(training))
        handles = self._timeline.do(lambda part: self._begin_timeline(part, training)) or []
        started = time.time()
        try:
            yield
        except BaseException:
            self._observer.do(lambda part: part.detach())
            raise
        finally:
            for handle in handles:
                handle.remove()
        started += self._observer.part.spent if self._observer.part else 0.0
        self._record(timeline.step_phase(training), started)
        self._observer.do(lambda part: part.end())
        self._trace.do(lambda part: part.end(training))
        self._timeline.do(lambda part: part.spill())
        self._done[training] += 1

    def _begin_timeline(self, part: Timeline, training: bool) -> list[Any]:
        part.step = self._done[training]
        started, name = time.time(), type(self._module).__name__
        forward = self._module.register_forward_hook(lambda *_: part.record(timeline.FORWARD, name, started))
        saves = self._observer.part is not None and self._observer.part.detailed
        return [*part.watch(self._module), forward] if saves else [forward]

    def batches(self, batches: Iterable[T]) -> Iterator[T]:
        """See Hook."""
        phase, rest = timeline.STARTING, iter(batches)
        while True:
            started = time.time()
            try:
                batch = next(rest)
            except StopIteration:
                return
            self._record(phase, started)
            phase = timeline.WAITING
            yield batch

    def decoded(self, started: float) -> None:
        """See Hook."""
        self._record(timeline.WORKING, started, threading.get_native_id())
        self._timeline.do(lambda part: part.spill())

    def _record(self, phase: str, started: float, thread: int = 0) -> None:
        self._timeline.do(lambda part: part.record(phase, phase, started, thread))

    def end_epoch(self, values: dict[str, float]) -> str | None:
        """See Hook."""
        self._observer.do(lambda part: part.wait())
        self._timeline.do(lambda part: part.flush())
        self._board.do(lambda part: part.write(values, self._module))
        verdict = self._rules.do(lambda part: part.first_issue())
        return f"{verdict.rule}: {verdict.reason}" if verdict else None

    def close(self) -> None:
        """See Hook."""
        self._trace.do(lambda part: part.close())
        self._observer.do(lambda part: part.close())
        self._timeline.do(lambda part: part.close())
        self._resources.do(lambda part: part.close())
