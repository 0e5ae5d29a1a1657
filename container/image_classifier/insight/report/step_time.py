"""Where the time goes: of the whole job, and of one training step."""

from bisect import bisect_right
from dataclasses import dataclass
from statistics import median

from image_classifier.insight import system
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import count, duration, percent
from image_classifier.insight.system import Event

NONE = "Neither `run.json` nor the profiler's files say how long the parts of the job took."
_NAMES = {  # what `run.json` calls them
    "decode": "decoding pictures",
    "features": "features of the frozen backbone",
    "forward_backward": "forward and backward passes",
    "waiting": "waiting for pictures",
    "reading": "finding the pictures",
    "saving": "saving the model",
    "compiling": "compiling for CPUs",
    "other": "everything else",
}
_FORWARD = "Forward"


@dataclass(frozen=True)
class Part:
    """One use of time."""

    name: str
    seconds: float
    share: float  # of the sum of all parts

    @property
    def said(self) -> tuple[str, str]:
        """Time and share as text."""
        return duration(self.seconds), percent(self.share)


@dataclass(frozen=True)
class Parts:
    """Uses of time, the largest first, and the sentence about them."""

    title: str
    sentence: str
    parts: tuple[Part, ...]


def of_job(material: Material) -> Parts | None:
    """Where the time of the job went, as the training process measured it."""
    parts = _shares(
        {_NAMES.get(name, name): seconds for name, seconds in material.facts.seconds.items() if name != "job"}
    )
    if not parts:
        return None
    first = parts[0]
    total = duration(sum(part.seconds for part in parts))
    sentence = f"Most of the measured time went into {first.name}: {first.said[0]}, {first.said[1]} of {total}."
    return Parts("The whole job", sentence, parts)


def of_step(material: Material) -> Parts | None:
    """Where the time of a training step goes: medians over all steps."""
    timeline = material.run.timeline
    steps = timeline.of(system.STEP)
    if not steps:
        return None
    whole = median(step.duration for step in steps)
    waiting = _median(timeline.waits_of_training())
    forward = min(whole, _median(_inside(timeline.of(_FORWARD), steps)))
    named = {"waiting for the next batch": waiting, "forward pass": forward}
    named["backward pass and update" if forward else "forward pass, backward pass and update"] = whole - forward
    parts = _shares(named)
    longest = max(step.duration for step in steps)
    sentence = (
        f"A training step takes {duration(waiting + whole)} (median of {count(len(steps), 'step')}, with its wait), "
        f"most of it for this: {parts[0].name}, {parts[0].said[0]}. "
        f"Without its wait the longest took {duration(longest)}."
    )
    return Parts("One training step", sentence, parts)


def _shares(seconds: dict[str, float]) -> tuple[Part, ...]:
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return tuple(Part(name, value, value / total) for name, value in ordered if value > 0)


def _median(events: list[Event]) -> float:
    return median(event.duration for event in events) if events else 0.0


def _inside(events: list[Event], steps: list[Event]) -> list[Event]:
    """Events that end within one of the steps: a step may be said to begin later, without what the hook itself took."""
    starts = [step.start for step in steps]
    return [each for each in events if (i := bisect_right(starts, each.end)) and each.end <= steps[i - 1].end]
