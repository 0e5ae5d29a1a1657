"""The status page at `/`, and the numbers behind it: what ran, what it said and measured, what is in service."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from werkzeug.wrappers import Request, Response

from local_sagemaker.errors import invalid
from local_sagemaker.models import CONFIG, MODEL, container_of
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record

STATUS, JOB = "/local/status", "/local/job/"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_LOG_BYTES = 64 * 1024  # of its end
_KINDS = {
    "TrainingJob": ("HyperParameters", "FailureReason", "TrainingTimeInSeconds", "_TuningJob", "_Tuned"),
    "HyperParameterTuningJob": ("TrainingJobStatusCounters", "BestTrainingJob", "FailureReason"),
    "TransformJob": ("ModelName", "FailureReason"),
    "Endpoint": ("EndpointConfigName", "FailureReason"),
}
# Where the machines of a job or endpoint have their files.
_PLACES = {"TrainingJob": "training-jobs", "TransformJob": "transform-jobs", "Endpoint": "endpoints"}


class Status:
    """Answers the page's requests."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._store = platform, platform.store
        page, script = (Path(__file__).with_name(f"status.{end}").read_text(encoding="utf-8") for end in ("html", "js"))
        self._page = page.replace("{{SCRIPT}}", script)

    def page(self, _request: Request) -> Response:
        """The page itself, under a policy that lets nothing in from outside."""
        headers = {"Content-Security-Policy": policy(self._page), "X-Content-Type-Options": "nosniff"}
        return Response(self._page, 200, headers, content_type="text/html; charset=utf-8")

    def status(self, _request: Request) -> Response:
        """All jobs and endpoints, the newest first."""
        return _json(
            {
                kind: [{**_short(kind, one), "many": self._many(kind, one)} for one in self._store.all(kind)]
                for kind in _KINDS
            }
        )

    def job(self, request: Request) -> Response:
        """The ends of the logs of one job or endpoint, by host or variant; metrics as [seconds since 1970, value]."""
        kind, _, name = request.path.removeprefix(JOB).partition("/")
        if kind not in _KINDS:
            raise invalid(f"{kind} is none of {', '.join(_KINDS)}.")
        record = self._store.get(kind, name)
        logs = {title: _tail(file) for title, file in sorted(self._logs(kind, name))}
        return _json(
            {"logs": {title: text for title, text in logs.items() if text}, "metrics": record.get("_Metrics", {})}
        )

    def _logs(self, kind: str, name: str) -> Iterator[tuple[str, Path]]:
        """Titles and files."""
        place = self._platform.place(_PLACES.get(kind, "none"), name)
        if kind == "TrainingJob":
            for file in place.glob("log*"):
                yield f"algo-{file.name.partition('-')[2] or 1}", file
        elif kind == "TransformJob":
            yield "transform", place / "log"
        else:  # of every start; while an update goes on there are two of one variant
            for file in place.glob("*/log"):
                yield file.parent.name, file

    def _many(self, kind: str, record: Record) -> bool:
        """Whether an endpoint has many models, one of which a request must name."""
        config = self._store.find(CONFIG, record.get("EndpointConfigName", "")) if kind == "Endpoint" else None
        models = [
            self._store.find(MODEL, one.get("ModelName", "")) for one in (config or {}).get("ProductionVariants", [])
        ]
        return any(container_of(model).get("Mode") == "MultiModel" for model in models if model)


def policy(page: str) -> str:
    """A Content-Security-Policy with the page's own script and style, by their hashes, and its own server."""
    allowed: Mapping[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    scripts, styles = " ".join(allowed["script"]), " ".join(allowed["style"])
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _short(kind: str, record: Record) -> Record:
    shared = {
        "name": record[f"{kind}Name"],
        "status": record[f"{kind}Status"],
        "phase": record.get("SecondaryStatus", ""),
        "created": record["CreationTime"],
    }
    return {**shared, **{member.lstrip("_"): record[member] for member in _KINDS[kind] if member in record}}


def _tail(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _LOG_BYTES))
        return stream.read().decode(errors="replace")


def _json(content: Record) -> Response:
    return Response(json.dumps(content), 200, content_type="application/json")
