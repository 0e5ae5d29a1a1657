"""The first screen: did it learn, is it healthy, was the hardware used - each answered in sentences with numbers."""

import math
from dataclasses import dataclass
from enum import StrEnum

from image_classifier.insight.quality import wilson
from image_classifier.insight.report import resources
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import SPACE, count, listed, number, percent, sentence
from image_classifier.insight.verdict import Status, Verdict

# What these find speaks about learning itself, so a plain yes beside them would contradict them.
ABOUT_LEARNING = {
    "NotLearning",
    "LossNotDecreasing",
    "Overfit",
    "Memorizing",
    "Overtraining",
    "PredictionCollapse",
    "Confusion",
}
_NAMED = 3  # issues whose reason is told on the first screen


class Tone(StrEnum):
    """How an answer is to be taken; also the name of its symbol and colour."""

    GOOD = "good"
    MIXED = "mixed"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Sentence:
    """One sentence, and the part of the page that shows more."""

    text: str
    link: str = ""
    link_text: str = ""


@dataclass(frozen=True)
class Answer:
    """One question, answered in a few words and then in sentences."""

    question: str
    tone: Tone
    short: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class _Evidence:
    """An accuracy in words, and whether it is beyond what guessing gives; None when that is not known."""

    text: str
    beyond_chance: bool | None


def learned(material: Material) -> Answer:
    """Whether the network does better than always naming the largest class, beyond chance."""
    question, evidence = "Did it learn?", _evidence(material)
    course = _linked_once(_course(material), "#learning", "curves")
    if evidence is None:
        return _not_measured(question, material, course)
    measured = Sentence(evidence.text, "#mistakes", "mistakes") if material.quality else Sentence(evidence.text)
    doubts = [each.rule for each in material.issues("tensor") if each.rule in ABOUT_LEARNING]
    doubt = (Sentence(f"But {_found(doubts)}.", f"#rule-{doubts[0]}", "why"),) if doubts else ()
    tone, short = _in_short(evidence.beyond_chance, bool(doubts))
    return Answer(question, tone, short, (measured, *course, *doubt))


def _in_short(beyond_chance: bool | None, doubts: bool) -> tuple[Tone, str]:
    if beyond_chance is None:
        return Tone.UNKNOWN, "Not known"
    if not beyond_chance:
        return Tone.BAD, "No"
    return (Tone.MIXED, "Yes, with reservations") if doubts else (Tone.GOOD, "Yes")


def _not_measured(question: str, material: Material, course: tuple[Sentence, ...]) -> Answer:
    if material.failure:
        return Answer(question, Tone.BAD, "No", (Sentence("The job failed before it could be measured."), *course))
    why = Sentence("It cannot be said: there is neither a table of epochs with accuracies nor one of predictions.")
    return Answer(question, Tone.UNKNOWN, "Not known", (why, *course))


def _evidence(material: Material) -> _Evidence | None:
    """The accuracy that counts: of the test split, or else of the best validation."""
    quality, best, facts = material.quality, material.best, material.facts
    if quality:
        return _counted_evidence(quality.split, quality.right, quality.count, quality.largest_class)
    if best is None:
        return None
    total, pictures = facts.counts.get("validation"), sum(facts.class_counts)
    if total and pictures:
        return _counted_evidence(
            "validation", round(best.val_accuracy * total), total, max(facts.class_counts) / pictures
        )
    text = f"The best validation accuracy is {percent(best.val_accuracy)}"
    if not facts.classes:
        return _Evidence(f"{text}; how many classes there are is not known.", None)
    guess = 1 / len(facts.classes)
    return _Evidence(f"{text}; a guess gives {percent(guess)}.", best.val_accuracy > guess)


def _counted_evidence(split: str, right: int, total: int, largest_class: float) -> _Evidence:
    low, high = wilson(right, total)
    text = (
        f"{right:,} of {count(total, f'{split} picture')} are named rightly: {percent(right / total)} "
        f"(95{SPACE}% interval {percent(low)} to {percent(high)}). "
        f"Always naming the largest class would give {percent(largest_class)}."
    )
    return _Evidence(text, low > largest_class)


def _course(material: Material) -> list[str]:
    """How loss and accuracy went over the epochs."""
    history, best = material.history, material.best
    if len(history) < 2:
        return []
    first, last = history[0], history[-1]
    sentences = []
    if best and math.isfinite(first.val_accuracy):
        sentences.append(
            f"Validation accuracy went from {percent(first.val_accuracy)} in epoch {first.epoch} to "
            f"{percent(best.val_accuracy)} in epoch {best.epoch}, the best of {len(history)}."
        )
    if math.isfinite(first.train_loss):
        sentences.append(f"Training loss went from {number(first.train_loss)} to {number(last.train_loss)}.")
    return sentences


def healthy(material: Material) -> Answer:
    """What the tensor rules found."""
    verdicts = [each for each in material.verdicts if each.kind == "tensor"]
    return _judged("Is it healthy?", verdicts, "about the network")


def used(material: Material) -> Answer:
    """How busy the machine was, and what the profiler rules found."""
    question = "Was the hardware used?"
    verdicts = [each for each in material.verdicts if each.kind == "profiler"]
    judged = _judged(question, verdicts, "about the machine")
    usage = resources.usage(material)
    measured = _linked_once([*usage.sentences, *_speed(material)], "#resources", "timeline")
    if usage.share is None:
        why = Sentence("No resource metrics were recorded, so how busy the machine was is not known.")
        return Answer(question, Tone.UNKNOWN, "Not known", (why, *measured, *judged.sentences))
    if usage.share < resources.BUSY:
        tone, short = Tone.MIXED, "Only in part"
    else:
        tone, short = (Tone.MIXED, "Yes, with reservations") if judged.tone is Tone.BAD else (Tone.GOOD, "Yes")
    return Answer(question, tone, short, (*measured, *judged.sentences))


def _judged(question: str, verdicts: list[Verdict], about: str) -> Answer:
    issues = [each for each in verdicts if each.status is Status.ISSUE]
    quiet = [each for each in verdicts if each.status is Status.NO_ISSUE]
    if not issues and not quiet:
        text = f"None of the {len(verdicts)} rules {about} could look." if verdicts else f"No rule {about} was run."
        return Answer(question, Tone.UNKNOWN, "Not known", (Sentence(text, "#rules", "why"),))
    total = Sentence(_told(issues, quiet, len(verdicts), about), "#rules", "all rules")
    reasons = (
        Sentence(f"{each.rule}: {sentence(each.reason)}", f"#rule-{each.rule}", "what it means")
        for each in issues[:_NAMED]
    )
    tone, short = (Tone.BAD, count(len(issues), "issue")) if issues else (Tone.GOOD, "No issue found")
    return Answer(question, tone, short, (total, *reasons))


def _told(issues: list[Verdict], quiet: list[Verdict], total: int, about: str) -> str:
    blind = total - len(issues) - len(quiet)
    names = f" ({listed([each.rule for each in issues])})" if issues else ""
    missing = f"; {blind} could not look" if blind else ""
    found = f"{len(issues)} found an issue{names}" if issues else "none found an issue"
    return f"Of {count(total, 'rule')} {about}, {found} and {len(quiet)} found all well{missing}."


def _speed(material: Material) -> list[str]:
    speeds = sorted(row.images_per_second for row in material.history if math.isfinite(row.images_per_second))
    middle = speeds[len(speeds) // 2] if speeds else 0.0
    return [f"It learnt from {number(middle)} samples a second (median of the epochs)."] if speeds else []


def _linked_once(texts: list[str], link: str, name: str) -> tuple[Sentence, ...]:
    """Sentences about one part of the page; the last leads there."""
    plain = [Sentence(text) for text in texts[:-1]]
    return (*plain, *(Sentence(text, link, name) for text in texts[-1:]))


def _found(rules: list[str]) -> str:
    return f"the rule {rules[0]} found an issue" if len(rules) == 1 else f"the rules {listed(rules)} found issues"
