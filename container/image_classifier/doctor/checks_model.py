"""A model directory: what it holds, whether it fits, and one picture answered by the code that serves."""

import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

import torch
from mms.context import Context, RequestProcessor
from PIL import Image

from image_classifier import artifact
from image_classifier.contract import Settings
from image_classifier.doctor.report import Check, Finding, ok, problem, warning
from image_classifier.errors import PlatformError, UserError, sentence
from image_classifier.serving import engines, handler, report, sizing
from image_classifier.serving.formats import Body
from image_classifier.serving.location import find
from image_classifier.serving.wire import ACCEPT, CONTENT_TYPE, REQUEST_ID


def checks(folder: Path, settings: Settings) -> list[Check]:
    """What is checked of a model directory, in order; each builds upon the one before."""
    return [
        partial(files, folder),
        partial(content, folder, settings),
        partial(memory, folder, settings),
        partial(prediction, folder, settings),
    ]


def files(folder: Path) -> Finding:
    """The directory is there, and the user who serves may read it."""
    if folder.is_file():
        return problem(f"{folder} is a file", "unpack it: `mkdir model && tar -xzf model.tar.gz -C model`")
    if not folder.is_dir():
        return problem(f"there is no directory {folder}", "mount it: `docker run -v DIRECTORY:/opt/ml/model:ro`")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    shut = [path for path in found if not os.access(path, os.R_OK)]
    if shut:
        return problem(f"user {os.getuid()} may not read {shut[0]}", "make it readable: `chmod -R a+rX` the directory")
    size = sum(path.stat().st_size for path in found) / 1e6
    return ok(f"{folder}: {len(found)} file(s), {size:.1f} MB")


def content(folder: Path, settings: Settings) -> Finding:
    """What `config.json` says, and whether another torch wrote it."""
    script = find(folder, settings)
    if script:
        return ok(f"{script} of yours decides how the model is loaded and asked")
    config = artifact.load_config(folder)
    accuracy = config.metrics.get("test_accuracy")
    what = (
        f"{config.architecture}, {len(config.classes)} classes, {config.preprocessing.image_size} pixels"
        f"{f', test accuracy {accuracy:.3f}' if accuracy is not None else ''}"
    )
    made, here = config.versions.get("torch", ""), str(torch.__version__)
    if made and made.split(".")[:2] != here.split(".")[:2]:
        return warning(f"{what}; made with torch {made}, here is {here}", "compare an answer with one you know")
    return ok(what)


def memory(folder: Path, settings: Settings) -> Finding:
    """Workers need room for the model, each for a copy of its own."""
    choice = report.engine(folder, settings, "cuda:0" if torch.cuda.is_available() else engines.CPU)
    sizes = sizing.compute(settings, folder, choice.kind if choice else None)
    workers, *_ = sizes.explain()
    if sizes.planned > sizes.memory:
        return warning(workers, f"give at least {sizes.planned // sizing.MIB} MiB of memory, or ask for fewer workers")
    return ok(workers)


def prediction(folder: Path, settings: Settings) -> Finding:
    """Load the model and answer one generated picture, through the function that the server's workers call."""
    context = Context("doctor", str(folder), {}, 1, 0 if torch.cuda.is_available() else None, "")
    with _quiet() as reasons:
        handler.handle(None, context)
        headers = {CONTENT_TYPE: Body.PICTURE, ACCEPT: settings.default_accept, REQUEST_ID: "doctor"}
        context.request_processor = [RequestProcessor(headers)]
        start = time.perf_counter()
        (answer,) = handler.handle([{"body": _picture()}], context) or [b""]
    took = (time.perf_counter() - start) * 1000
    status = context.get_response_status(0)[0] or 200
    if status != 200:
        reason = reasons[-1] if reasons else answer.decode(errors="replace")
        return problem(f"a generated picture was answered with {status} ({reason})", "mend the script, or the model")
    return ok(f"a generated picture was answered in {took:.0f} ms: {_first(answer)}")


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Reasons instead of tracebacks; what a user's script prints stays off the report."""
    collector = _Reasons()
    log = logging.getLogger(handler.__name__)
    log.addHandler(collector)
    log.propagate = False
    try:
        with redirect_stdout(sys.stderr):
            yield collector.reasons
    except (UserError, PlatformError):
        raise
    except Exception as error:
        raise UserError(f"The model cannot be loaded: {sentence(error)}") from error
    finally:
        logging.disable(logging.NOTSET)  # the handler's last act before a worker dies
        log.removeHandler(collector)
        log.propagate = True


class _Reasons(logging.Handler):
    """Keeps one sentence for each record."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        error = record.exc_info[1] if record.exc_info else None
        self.reasons.append(sentence(error) if error else record.getMessage())


def _picture() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _first(answer: bytes) -> str:
    """The label that the model prefers, or the beginning of what a user's script answered."""
    try:
        said = json.loads(answer)
        return f"{said['topk_labels'][0]}, {said['topk_probs'][0]:.0%}"
    except (ValueError, KeyError, TypeError, IndexError):
        return answer[:60].decode(errors="replace")
