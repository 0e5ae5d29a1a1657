"""What requests and answers look like. Imports nothing heavy: the front door uses it too."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from image_classifier.errors import RequestError

PICTURES = (
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "image/avif",
    "application/x-image",
    "application/octet-stream",
)


class Output(StrEnum):
    """Answer formats, as media types."""

    JSON = "application/json"
    VERBOSE = "application/json;verbose"


@dataclass(frozen=True)
class Options:
    """What a request asks for."""

    output: Output
    top_k: int


def check_content_type(header: str | None) -> None:
    """Refuse a body that is not a picture.

    Raises:
        RequestError: 415, naming what is accepted.
    """
    media_type = (header or "").partition(";")[0].strip().lower()
    if media_type not in PICTURES:
        said = f"Content-Type {media_type} is" if media_type else "A request without Content-Type is"
        raise RequestError(415, "unsupported_media_type", f"{said} not accepted; send one of {', '.join(PICTURES)}.")


def choose_output(header: str | None, default: str) -> Output:
    """Choose the answer's format by the Accept header (RFC 9110, with q-values).

    Raises:
        RequestError: 406, naming what can be had.
    """
    for media_range in _by_preference(header or default):
        output = _match(media_range)
        if output:
            return output
    offered = ", ".join(Output)
    raise RequestError(406, "not_acceptable", f"Accept {header or default!r} cannot be met; ask for one of {offered}.")


def _by_preference(header: str) -> list[str]:
    weighted = []
    for position, part in enumerate(header.split(",")):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(p) for p in parameters if p.startswith("q=")), 1.0)
        rest = [p for p in parameters if not p.startswith("q=")]
        if weight > 0 and media_range:
            weighted.append((-weight, position, ";".join([media_range, *rest])))
    return [media_range for _, _, media_range in sorted(weighted)]


def _weight(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0


def _match(media_range: str) -> Output | None:
    if media_range in ("*/*", "application/*"):
        return Output.JSON
    plain = media_range.replace(";charset=utf-8", "")
    return next((output for output in Output if output == plain), None)


def choose_top_k(query: Mapping[str, str], custom_attributes: str | None, default: int) -> int:
    """Number of labels in the answer: `?top_k=3`, or `top_k=3` in X-Amzn-SageMaker-Custom-Attributes.

    Raises:
        RequestError: 400, not a positive number.
    """
    attributes = dict(pair.strip().partition("=")[::2] for pair in (custom_attributes or "").split(","))
    text = query.get("top_k") or attributes.get("top_k")
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= 100_000:
        raise RequestError(400, "bad_option", f"top_k={text[:20]!r} cannot be used; give a number from 1 on.")
    return int(text)


def encode(logits: list[float], probabilities: list[float], labels: tuple[str, ...], options: Options) -> bytes:
    """Write the answer for one picture."""
    ranking = sorted(range(len(labels)), key=lambda index: -probabilities[index])
    top = ranking[: options.top_k]
    answer: dict[str, object] = {
        "topk_indices": top,
        "topk_labels": [labels[index] for index in top],
        "topk_probs": [probabilities[index] for index in top],
    }
    if options.output is Output.VERBOSE:
        answer |= {
            "predicted_label": labels[ranking[0]],
            "labels": list(labels),
            "probabilities": probabilities,
            "logits": logits,
        }
    return json.dumps(answer, ensure_ascii=False).encode()


def encode_error(code: str, message: str, request_id: str) -> bytes:
    """Write an error; it never holds a traceback."""
    return json.dumps({"code": code, "message": message, "request_id": request_id}, ensure_ascii=False).encode()
