"""What to do next: from the same verdicts and numbers as the rest of the page, the most pressing first."""

from collections.abc import Iterator

from image_classifier.insight.report.answers import ABOUT_LEARNING, Answer, Sentence, Tone
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import count, number, quoted, sentence

_MOST = 4
_FAR_OFF = 0.1  # calibration error from which confidences are no probabilities
_SHORT = 3  # epochs, of which the last being the best says nothing


def do_next(material: Material) -> Answer:
    """What would help most."""
    question, steps = "What to do next?", list(_steps(material))[:_MOST]
    if steps:
        return Answer(question, Tone.MIXED, count(len(steps), "step"), tuple(steps))
    if material.quality:
        text = "Nothing here asks for a change: look at the mistakes, then serve the model."
        return Answer(question, Tone.GOOD, "Serve it", (Sentence(text, "#mistakes", "mistakes"),))
    text = "Nothing here asks for a change; a test split would tell how good the network is on new pictures."
    return Answer(question, Tone.UNKNOWN, "Measure it", (Sentence(text),))


def _steps(material: Material) -> Iterator[Sentence]:
    if material.failure:
        yield Sentence("The job failed: put right what the red line at the top says, and run it again.")
    yield from _advice(material)
    if not material.failure:
        yield from _train_longer(material)
    yield from _confused(material)
    yield from _calibrated(material)


def _advice(material: Material) -> Iterator[Sentence]:
    """Advice of rules that found an issue, and of no other."""
    for each in material.issues("tensor") + material.issues("profiler"):
        if each.advice:
            yield Sentence(f"{each.rule}: {sentence(each.advice)}", f"#rule-{each.rule}", "details")


def _train_longer(material: Material) -> Iterator[Sentence]:
    best, history = material.best, material.history
    doubts = {each.rule for each in material.issues("tensor")} & ABOUT_LEARNING
    if best and not doubts and len(history) >= _SHORT and best.epoch == history[-1].epoch:
        text = f"Train longer: the best epoch was the last of {len(history)}, so validation was still getting better."
        yield Sentence(text, "#learning", "curves")


def _confused(material: Material) -> Iterator[Sentence]:
    pairs = material.quality.pairs if material.quality else ()
    if pairs and pairs[0].count > 1:
        pair = pairs[0]
        who = f"{quoted(pair.label)} taken for {quoted(pair.predicted)}"
        text = f"Look at {who}, the commonest mistake ({pair.count} of {count(pair.of, 'picture')})."
        yield Sentence(text, "#pairs", "pictures")


def _calibrated(material: Material) -> Iterator[Sentence]:
    if material.quality and material.quality.calibration_error >= _FAR_OFF:
        off = number(100 * material.quality.calibration_error)
        text = f"Do not take the confidences as probabilities: they are {off} points off on average."
        yield Sentence(text, "#calibration", "calibration")
