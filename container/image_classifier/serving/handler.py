"""The function MMS calls in its workers: once without data to load, then with each batch of requests.

A function, not a class: MMS swallows what a class raises while it loads, and then calls the broken worker ready.
"""

import logging
import os
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_classifier.contract import Settings
from image_classifier.errors import RequestError, UserError, is_lost_device, is_out_of_memory, sentence
from image_classifier.images import ImageError
from image_classifier.serving import engines, formats, spool
from image_classifier.serving.answers import NoneAnswered
from image_classifier.serving.location import find
from image_classifier.serving.service import Request, Result, Service
from image_classifier.serving.sizing import BUFFER
from image_classifier.serving.wire import (
    ALONE_THREADS_ENV,
    ANSWER_FILE,
    DEVICE_LOST,
    FOLDER_ENV,
    REQUEST_ID,
    STAGES,
    load_error_file,
)

if TYPE_CHECKING:
    from image_classifier.serving.user_code import UserService

logger = logging.getLogger(__name__)

Record = dict[str, bytes]
_service: "Service | UserService | None" = None


def handle(data: list[Record] | None, context: Any) -> list[bytes] | None:
    """Load (data is None) or answer each request of a call.

    Args:
        data: one dictionary a request, the body under `body`.
        context: MMS's context: model directory, request and response headers.
    """
    global _service  # MMS's function interface keeps nothing for us between calls
    if data is None:
        _service = _load(context)
        return None
    if _service is None:
        raise RuntimeError("The model is not loaded.")
    calls = [Request(record.get("body", b""), context, index) for index, record in enumerate(data)]
    return [_reply(call, result) for call, result in zip(calls, _service.answer(calls), strict=True)]


def _load(context: Any) -> "Service | UserService":
    properties = context.system_properties
    try:
        settings = Settings.from_environment()
        model_dir = Path(properties["model_dir"])
        gpu = properties.get("gpu_id")
        device = engines.CPU if gpu is None else f"cuda:{gpu}"
        threads = settings.threads or 1
        alone = int(os.environ.get(ALONE_THREADS_ENV, threads))
        load = partial(engines.load, settings=settings, device=device, threads=threads, alone=alone)
        if find(model_dir, settings):
            from image_classifier.serving.user_code import UserService  # the toolkit, wanted by few

            return UserService(model_dir, settings, load, context)
        formats.check_default(settings.default_accept)
        return Service(load(model_dir), settings)
    except Exception as error:
        _leave_word(error, context.model_name)
        if is_out_of_memory(error):
            raise MemoryError(sentence(error)) from error  # MMS answers 507, and the platform unloads another model
        logging.disable()  # MMS would log a traceback as the worker dies, or lose it: it is said elsewhere
        raise


def _leave_word(error: Exception, model: str) -> None:
    """MMS reports that a load failed, never why; tell the process that started MMS: a sentence, then where."""
    folder = os.environ.get(FOLDER_ENV)
    if folder:
        where = [] if isinstance(error, UserError) or is_out_of_memory(error) else traceback.format_exception(error)
        text = "".join([sentence(error), "\n", *where])
        load_error_file(Path(folder), model).write_text(text, encoding="utf-8")


def _reply(call: Request, result: Result) -> bytes:
    """Put a result into MMS's context; gives the body."""
    context, index = call.context, call.index
    if isinstance(result, Exception):
        return _refuse(call, result)
    if result.content_type:
        context.set_response_content_type(index, result.content_type)
    if result.stages:
        context.set_response_header(index, STAGES, result.stages)
    try:
        return _handed_over(call, result.body)
    except Exception as error:
        return _refuse(call, error)


def _handed_over(call: Request, body: bytes) -> bytes:
    """The answer; nothing, and the name of its file beside it, where it is large."""
    if len(body) <= BUFFER:
        return body
    name = call.header(ANSWER_FILE) or ""
    spool.put(Path(os.environ[FOLDER_ENV]), name, body)
    call.context.set_response_header(call.index, ANSWER_FILE, name)
    return b""


def _refuse(call: Request, reason: Exception) -> bytes:
    request_id = call.header(REQUEST_ID) or ""
    error = _as_request_error(reason, request_id)
    call.context.set_response_status(error.status, error.code, call.index)
    call.context.set_response_content_type(call.index, "application/json")
    more = {"errors": error.errors} if isinstance(error, NoneAnswered) else {}
    return formats.encode_error(error.code, error.message, request_id, **more)


def _as_request_error(error: Exception, request_id: str) -> RequestError:
    """What the caller is told; what he is not told goes to the log."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ImageError):
        return RequestError(400, "bad_image", str(error))
    if is_out_of_memory(error):
        logger.error("Request %s: out of memory.", request_id)
        return RequestError(507, "out_of_memory", "The model ran out of memory.")
    logger.error("Request %s failed.", request_id, exc_info=error)
    if is_lost_device(error):
        return RequestError(503, DEVICE_LOST, "The GPU failed; the worker is replaced by a fresh one. Try again.")
    message = "The request failed inside the model server; the reason is in its log."
    return RequestError(500, "internal_error", message)
