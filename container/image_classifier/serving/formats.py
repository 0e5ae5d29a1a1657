"""What a request may send and ask for: media types and options. Imports nothing heavy: the front door chooses here."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.message import Message
from enum import StrEnum
from functools import lru_cache

from image_classifier.contract import Settings
from image_classifier.errors import RequestError, UserError


class Body(StrEnum):
    """What a body holds, by the media type that we call it by."""

    PICTURE = "application/x-image"
    JSON = "application/json"
    LINES = "application/jsonlines"
    MULTIPART = "multipart/form-data"


class Output(StrEnum):
    """Answer formats, as media types."""

    JSON = "application/json"
    VERBOSE = "application/json;verbose"
    LINES = "application/jsonlines"
    CSV = "text/csv"
    CSV_HEADER = "text/csv;header=present"


_ANY_IMAGE, _DRAWING = "image/*", "image/svg+xml"  # of which kind a picture is, its bytes say; SVG has no pixels
PICTURES = (_ANY_IMAGE, "application/x-image", "application/octet-stream")
LINES = ("application/jsonlines", "application/jsonl", "application/x-jsonlines", "application/x-ndjson")
ACCEPTED: Mapping[str, Body] = {
    **dict.fromkeys(PICTURES, Body.PICTURE),
    "application/json": Body.JSON,
    **dict.fromkeys(LINES, Body.LINES),
    "multipart/form-data": Body.MULTIPART,
}
# Other spellings of an answer format; a media range with * is met by the default.
_SPELLINGS = {
    **dict.fromkeys(LINES, Output.LINES),
    "text/csv;header=absent": Output.CSV,
    **{output.value: output for output in Output},
}
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, 5.1.1
_NUMBER = re.compile(r"[0-9.e+-]{1,30}")
MAX_TOP_K = 100_000
OPTIONS = ("top_k", "threshold", "full")


@dataclass(frozen=True)
class Options:
    """What a request sends and asks for. The front door chooses; a header carries it to the worker.

    Args:
        boundary: of a multipart body.
        threshold: labels less probable than this are left out.
        full: give the probabilities of all labels too.
    """

    body: Body = Body.PICTURE
    boundary: str = ""
    output: Output = Output.JSON
    top_k: int = 5
    threshold: float = 0.0
    full: bool = False

    def header(self) -> str:
        """As a header for the worker."""
        return json.dumps(vars(self))

    @classmethod
    @lru_cache
    def from_header(cls, text: str) -> "Options":
        """Read what `header` wrote; most requests say the same."""
        said = json.loads(text)
        return cls(**said | {"body": Body(said["body"]), "output": Output(said["output"])})


def choose(
    content_type: str, accept: str, query: Mapping[str, str], custom_attributes: str, settings: Settings
) -> Options:
    """Work out what a request sends and asks for, from its headers and query.

    Options are taken from the query, else from X-Amzn-SageMaker-Custom-Attributes (`top_k=3,threshold=0.5`).

    Raises:
        RequestError: 415 body, 406 answer or 400 option that cannot be; says what can.
    """
    body = check_content_type(content_type)
    for name in query.keys() - OPTIONS:
        raise RequestError(400, "bad_option", f"There is no option {name[:20]!r}; there are {', '.join(OPTIONS)}.")
    asked = {**_attributes(custom_attributes), **query}
    return Options(
        body=body,
        boundary=_boundary(content_type) if body is Body.MULTIPART else "",
        output=choose_output(accept, default_output(body, settings.default_accept)),
        top_k=choose_top_k(asked.get("top_k"), settings.top_k),
        threshold=choose_threshold(asked.get("threshold")),
        full=choose_full(asked.get("full")),
    )


def check_content_type(header: str | None, accepted: Mapping[str, Body] = ACCEPTED) -> Body:
    """What a body with this Content-Type holds.

    Raises:
        RequestError: 415, naming what is accepted.
    """
    media_type = (header or "").partition(";")[0].strip().lower()
    is_image = re.fullmatch(r"image/\S+", media_type) and media_type != _DRAWING
    if body := accepted.get(_ANY_IMAGE if is_image else media_type):
        return body
    said = f"Content-Type {media_type} is" if media_type else "A request without Content-Type is"
    offered = f"{', '.join(accepted)}, but no SVG"
    raise RequestError(415, "unsupported_media_type", f"{said} not accepted; send one of {offered}.")


def _boundary(content_type: str) -> str:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestError(400, "bad_body", "A multipart body needs its boundary in the Content-Type header.")
    return boundary


def default_output(body: Body, default_accept: str) -> str:
    """The answer's format when the caller leaves it open: JSON lines are answered in kind."""
    in_kind = body is Body.LINES and default_accept == Output.JSON
    return Output.LINES if in_kind else default_accept


def check_default(default_accept: str) -> None:
    """Refuse a default that nobody's request could be answered with.

    Raises:
        UserError: names what can be had.
    """
    try:
        choose_output("", default_accept)
    except RequestError:
        said = f"Environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT={default_accept!r} cannot be used"
        raise UserError(f"{said}: ask for one of {', '.join(Output)}.") from None


@lru_cache
def choose_output(header: str | None, default: str) -> Output:
    """Choose the answer's format by the Accept header (RFC 9110, with q-values).

    Raises:
        RequestError: 406, naming what can be had.
    """
    ranges = _by_preference(header or default)
    refused = {_SPELLINGS.get(media_range) for weight, media_range in ranges if not weight}
    for weight, media_range in ranges:
        if weight and (output := _match(media_range, default, refused)):
            return output
    offered = ", ".join(Output)
    raise RequestError(406, "not_acceptable", f"Accept {header or default!r} cannot be met; ask for one of {offered}.")


def _by_preference(header: str) -> list[tuple[float, str]]:
    weighted = []
    for position, part in enumerate(header.split(",")):
        media_range, *parameters = (piece.strip().lower().replace('"', "") for piece in part.split(";"))
        weight = next((_weight(p) for p in parameters if p.startswith("q=")), 1.0)
        rest = [p for p in parameters if not p.startswith("q=") and p != "charset=utf-8"]
        if media_range:
            weighted.append((-weight, position, ";".join([media_range, *rest])))
    return [(-weight, media_range) for weight, _, media_range in sorted(weighted)]


def _weight(parameter: str) -> float:
    try:
        return max(0.0, float(parameter[2:]))
    except ValueError:
        return 0.0


def _match(media_range: str, default: str, refused: Collection[Output | None]) -> Output | None:
    if media_range.endswith("/*"):
        defaults = [default, Output.JSON, Output.CSV]
        fitting = (_SPELLINGS.get(name) for name in defaults if media_range in ("*/*", f"{name.partition('/')[0]}/*"))
        return next((output for output in fitting if output and output not in refused), None)
    return _SPELLINGS.get(media_range)


def _attributes(custom_attributes: str) -> dict[str, str]:
    """`a=1, b=2` as a dictionary; other people's attributes of any form pass."""
    pairs = (pair.partition("=") for pair in custom_attributes.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def choose_top_k(text: str | None, default: int) -> int:
    """Number of labels in the answer.

    Raises:
        RequestError: 400, not a positive number.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= MAX_TOP_K:
        raise RequestError(400, "bad_option", f"top_k={text[:20]!r} cannot be used; give a number from 1 to 100000.")
    return int(text)


def choose_threshold(text: str | None) -> float:
    """The least probability a label must have to be named.

    Raises:
        RequestError: 400, not a probability.
    """
    if text is None:
        return 0.0
    try:
        threshold = float(text if _NUMBER.fullmatch(text) else "nan")
    except ValueError:
        threshold = float("nan")
    if not 0 <= threshold <= 1:  # nor for what is no number
        raise RequestError(400, "bad_option", f"threshold={text[:20]!r} cannot be used; give a number from 0 to 1.")
    return threshold


def choose_full(text: str | None) -> bool:
    """Whether the answer holds the probabilities of all labels.

    Raises:
        RequestError: 400, neither true nor false.
    """
    if text not in (None, "true", "false"):
        raise RequestError(400, "bad_option", f"full={text[:20]!r} cannot be used; give true or false.")
    return text == "true"


def encode_error(code: str, message: str, request_id: str, **more: object) -> bytes:
    """Write an error; it never holds a traceback."""
    content = {"code": code, "message": message, "request_id": request_id, **more}
    return json.dumps(content, ensure_ascii=False).encode()
