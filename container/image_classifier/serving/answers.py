"""From predictions to the bytes of an answer."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from image_classifier.errors import RequestError
from image_classifier.serving.formats import Options, Output

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Prediction:
    """What the network says of one picture: a number for each label, in the labels' order."""

    logits: Sequence[float]
    probabilities: Sequence[float]


Outcome = Prediction | RequestError


class NoneAnswered(RequestError):
    """Not one record of a body could be used; `errors` says why of each."""

    def __init__(self, errors: Sequence[RequestError]) -> None:
        first = f"None of the {len(errors)} pictures could be used; the first: {errors[0].message}"
        super().__init__(400, "no_usable_record", first)
        self.errors = [_error(error, index) for index, error in enumerate(errors)]


def write(
    outcomes: Sequence[Outcome], many: bool, labels: Sequence[str], options: Options, in_place: bool = False
) -> bytes:
    """Write the answer to one request: one outcome a record, in their order; as a list when it asked for many.

    With `in_place`, a list whose every record is bad is answered, too, each error in its place.

    Raises:
        RequestError: no record could be used.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    if len(errors) == len(outcomes) and not (many and in_place):
        raise NoneAnswered(errors) if many else errors[0]
    if options.output in (Output.CSV, Output.CSV_HEADER):
        return _csv(outcomes, labels, options)
    answers = [_answer(outcome, index, labels, options) for index, outcome in enumerate(outcomes)]
    if options.output is Output.LINES:
        return b"".join(_json(answer) + b"\n" for answer in answers)
    return _json({"predictions": answers} if many else answers[0])


def _json(content: Any) -> bytes:
    return _JSON.encode(content).encode()


def _error(error: RequestError, index: int) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "index": index}


def _answer(outcome: Outcome, index: int, labels: Sequence[str], options: Options) -> dict[str, Any]:
    if isinstance(outcome, RequestError):
        return {"error": _error(outcome, index)}
    top = _top(outcome, options)
    answer: dict[str, Any] = {
        "topk_indices": top,
        "topk_labels": [labels[index] for index in top],
        "topk_probs": [outcome.probabilities[index] for index in top],
    }
    verbose = options.output is Output.VERBOSE
    if verbose:
        answer["predicted_label"] = labels[_ranking(outcome)[0]]
    if verbose or options.full:
        answer |= {"labels": list(labels), "probabilities": list(outcome.probabilities)}
    if verbose:
        answer["logits"] = list(outcome.logits)
    return answer


def _ranking(prediction: Prediction) -> list[int]:
    """All labels, the most probable first; of equals the first."""
    ranking: list[int] = (-np.asarray(prediction.probabilities)).argsort(kind="stable").tolist()
    return ranking


def _top(prediction: Prediction, options: Options) -> list[int]:
    likely = (i for i in _ranking(prediction)[: options.top_k] if prediction.probabilities[i] >= options.threshold)
    return list(likely)


def _csv(outcomes: Sequence[Outcome], labels: Sequence[str], options: Options) -> bytes:
    """One line a record, in order, each with as many fields; quoted as RFC 4180 says, lines end with a line feed."""
    labels = [" ".join(label.split()) for label in labels]  # a label with a line break must not become two lines
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(labels) if options.full else _columns(min(options.top_k, len(labels)))
    if options.output is Output.CSV_HEADER:
        writer.writerow([*names, "error"])
    for outcome in outcomes:
        writer.writerow(_row(outcome, labels, options, len(names)))
    return text.getvalue().encode()


def _columns(top_k: int) -> list[str]:
    return [name for place in range(1, top_k + 1) for name in (f"label_{place}", f"probability_{place}")]


def _row(outcome: Outcome, labels: Sequence[str], options: Options, width: int) -> list[Any]:
    if isinstance(outcome, RequestError):
        return [""] * width + [f"{outcome.code}: {outcome.message}"]
    fields = list(outcome.probabilities) if options.full else list(_pairs(outcome, labels, options))
    return fields + [""] * (width - len(fields) + 1)


def _pairs(prediction: Prediction, labels: Sequence[str], options: Options) -> Iterator[Any]:
    for index in _top(prediction, options):
        yield from (labels[index], prediction.probabilities[index])
