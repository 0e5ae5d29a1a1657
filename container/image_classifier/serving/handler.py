"""The function MMS calls in its workers: once without data to load, then with each batch of requests.

A function, not a class: MMS swallows what a class raises while it loads, and then calls the broken worker ready.
"""

import logging
import os
import traceback
from pathlib import Path
from typing import Any

import torch

from image_classifier import images
from image_classifier.contract import Settings
from image_classifier.errors import RequestError, UserError, is_out_of_memory, sentence
from image_classifier.images import ImageError
from image_classifier.serving import user_code
from image_classifier.serving.engines import Engine, TorchEngine
from image_classifier.serving.formats import Options, Output, encode, encode_error
from image_classifier.serving.wire import ANSWERED, LOAD_ERROR_ENV, OUTPUT, REQUEST_ID, TOP_K, load_error_file

logger = logging.getLogger(__name__)

Record = dict[str, bytes]
_service: "Service | user_code.UserService | None" = None


def handle(data: list[Record] | None, context: Any) -> list[bytes] | None:
    """Load (data is None) or answer each record.

    Args:
        data: one dictionary a request, the body under `body`.
        context: MMS's context: model directory, request and response headers.
    """
    global _service  # MMS's function interface keeps nothing for us between calls
    if data is None:
        _service = _load(context.model_name, context.system_properties)
        return None
    if _service is None:
        raise RuntimeError("The model is not loaded.")
    return [_answer(_service, record, context, index) for index, record in enumerate(data)]


def _load(model: str, properties: dict[str, Any]) -> "Service | user_code.UserService":
    try:
        settings = Settings.from_environment()
        model_dir = Path(properties["model_dir"])
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        gpu = properties.get("gpu_id")
        device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
        if user_code.find(model_dir, settings):
            return user_code.UserService(model_dir, settings, device)
        return Service(TorchEngine(model_dir, device), settings)
    except Exception as error:
        _leave_word(error, model)
        if is_out_of_memory(error):
            raise MemoryError(sentence(error)) from error  # MMS answers 507, and the platform unloads another model
        logging.disable()  # MMS would log a traceback as the worker dies, or lose it: it is said elsewhere
        raise


def _leave_word(error: Exception, model: str) -> None:
    """MMS reports that a load failed, never why; tell the process that started MMS: a sentence, then where."""
    folder = os.environ.get(LOAD_ERROR_ENV)
    if folder:
        where = [] if isinstance(error, UserError) or is_out_of_memory(error) else traceback.format_exception(error)
        text = "".join([sentence(error), "\n", *where])
        load_error_file(Path(folder), model).write_text(text, encoding="utf-8")


def _answer(service: "Service | user_code.UserService", record: Record, context: Any, index: int) -> bytes:
    request_id = context.get_request_header(index, REQUEST_ID) or ""
    context.set_response_header(index, ANSWERED, "yes")
    try:
        return service.answer(bytes(record.get("body", b"")), context, index)
    except RequestError as error:
        return _refuse(context, index, error, request_id)
    except ImageError as error:
        return _refuse(context, index, RequestError(400, "bad_image", str(error)), request_id)
    except Exception as error:
        if is_out_of_memory(error):
            logger.error("Request %s: out of memory.", request_id)
            no_room = RequestError(507, "out_of_memory", "The model ran out of memory.")
            return _refuse(context, index, no_room, request_id)
        logger.exception("Request %s failed.", request_id)
        message = "The request failed inside the model server; the reason is in its log."
        return _refuse(context, index, RequestError(500, "internal_error", message), request_id)


def _refuse(context: Any, index: int, error: RequestError, request_id: str) -> bytes:
    context.set_response_status(error.status, error.code, index)
    context.set_response_content_type(index, "application/json")
    return encode_error(error.code, error.message, request_id)


class Service:
    """Answers pictures with our own engine."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def answer(self, body: bytes, context: Any, index: int) -> bytes:
        """Answer one request.

        Raises:
            ImageError: the body is not a usable picture.
        """
        options = Options(
            output=Output(context.get_request_header(index, OUTPUT) or Output.JSON),
            top_k=int(context.get_request_header(index, TOP_K) or self._settings.top_k),
        )
        config = self._engine.config
        pixels = images.read(body, config.preprocessing, self._settings.max_pixels)
        logits = self._engine.logits(pixels.unsqueeze(0))[0]
        context.set_response_content_type(index, options.output)
        return encode(logits.tolist(), logits.double().softmax(0).tolist(), config.labels, options)
