"""A user's own `code/inference.py` in the artifact, run by sagemaker-inference's Transformer.

What the script leaves out (model_fn, input_fn, predict_fn, output_fn) falls back to our own engine and formats.
"""

import copy
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mms.context import RequestProcessor
from PIL import Image
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError
from sagemaker_inference.transformer import Transformer

from image_classifier import images
from image_classifier.contract import Settings
from image_classifier.errors import RequestError, UserError
from image_classifier.serving import answers, formats, script_functions
from image_classifier.serving.answers import Prediction
from image_classifier.serving.engines import Engine
from image_classifier.serving.location import find
from image_classifier.serving.prediction import softmax
from image_classifier.serving.service import Answer, Request, Result, checked
from image_classifier.serving.wire import ACCEPT, CONTENT_TYPE, of_sagemaker

__all__ = ["UserService", "find"]
WARM_UP = (256, 256)  # pixels
Load = Callable[[Path], Engine]


class Defaults(DefaultInferenceHandler):  # type: ignore[misc]
    """What a script need not write itself."""

    def __init__(self, settings: Settings, load: Load) -> None:
        self._settings = settings
        self._load = load

    def default_model_fn(self, model_dir: str, context: Any = None) -> Engine:
        """Load the artifact."""
        return self._load(Path(model_dir))

    def default_input_fn(self, input_data: bytes, content_type: str, context: Any = None) -> Any:
        """Decode the request's picture: an RGB PIL image, upright."""
        formats.check_content_type(content_type, dict.fromkeys(formats.PICTURES, formats.Body.PICTURE))
        return images.decode(input_data, self._settings.max_pixels)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """Run our engine."""
        if not hasattr(model, "logits"):
            raise UserError(f"model_fn gives a {type(model).__name__}, which only a predict_fn of yours can run.")
        pixels = np.asarray(images.centre_crop(data, model.config.preprocessing))
        return model.logits(pixels[np.newaxis]), model.config

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """Write our answer, or what the toolkit can make of the script's own prediction."""
        if not isinstance(prediction, tuple):
            return self._toolkit_output(prediction, accept)
        logits, config = prediction
        output = formats.choose_output(accept, self._settings.default_accept)
        options = formats.Options(output=output, top_k=self._settings.top_k)
        outcome = Prediction(logits[0].tolist(), softmax(logits, config.temperature)[0].tolist())
        return answers.write([outcome], False, config.labels, options), str(output)

    def _toolkit_output(self, prediction: Any, accept: str) -> Any:
        try:
            return super().default_output_fn(prediction, accept)
        except UnsupportedFormatError:
            raise RequestError(406, "not_acceptable", f"Accept {accept!r} cannot be met by this model.") from None


class _Refused(Transformer):  # type: ignore[misc]
    """The toolkit answers errors with a traceback; let them out instead, to be answered as ours are."""

    @staticmethod
    def handle_error(context: Any, inference_exception: Exception, trace: str) -> list[str]:
        del context, trace
        raise sys.exc_info()[1] or inference_exception  # what the script raised, not the toolkit's copy of it


class _Headers(dict[str, Any]):
    """A request's headers, found by their names in any case."""

    def __init__(self, headers: Mapping[str, Any]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        """See dict.get."""
        return super().get(name.lower(), default)


def _narrowed(context: Any, headers: Mapping[str, Any]) -> Any:
    """MMS's context for one request alone: a script, as the Transformer, only looks at the first."""
    found = _Headers(headers)
    found["content-type"] = found.get(CONTENT_TYPE) or "application/octet-stream"
    found["accept"] = found.get(ACCEPT) or ""
    narrowed = copy.copy(context)
    narrowed.request_processor = [RequestProcessor(found)]
    return narrowed


def _pass_on(narrowed: Any, context: Any, index: int) -> None:
    """Pass on what the script said beside its answer."""
    status, _ = narrowed.get_response_status(0)
    context.set_response_status(int(status), "", index)
    for name, value in of_sagemaker(narrowed.get_response_headers(0)).items():
        context.set_response_header(index, _one_line(name), _one_line(value))
    if kind := narrowed.get_response_content_type(0):
        context.set_response_content_type(index, _one_line(kind))


def _one_line(value: object) -> str:
    return " ".join(str(value).encode("ascii", "replace").decode().splitlines())


class UserService:
    """Answers requests with the user's script."""

    def __init__(self, model_dir: Path, settings: Settings, load: Load, context: Any) -> None:
        script = find(model_dir, settings)
        if script is None:
            raise RuntimeError(f"No script {settings.program} in {model_dir}.")
        sys.path.insert(0, str(script.parent))
        os.environ["SAGEMAKER_PROGRAM"] = script.stem  # a module name to the Transformer
        self._settings = settings
        functions = script_functions.check(importlib.import_module(script.stem))
        self._transformer = _Refused(Defaults(settings, load))
        self._transformer.validate_and_initialize(str(model_dir), context)
        if not functions & {"input_fn", "transform_fn", "model_warmup_fn"}:
            self._warm_up(context)

    def _warm_up(self, context: Any) -> None:
        """Predict a picture, where the script leaves reading it to us: its faults are seen before the first caller."""
        asked = self._transformer
        asked._context = _narrowed(context, {})
        try:
            asked._run_handler_function(asked._predict_fn, Image.new("RGB", WARM_UP, "grey"), asked._model)
        except Exception as error:
            error.add_note("(while it predicted a grey picture, to warm up)")
            raise

    def answer(self, calls: Sequence[Request]) -> list[Result]:
        """Answer the requests of one call, one after the other: a script knows of no others."""
        return [self._answer(call) for call in calls]

    def _answer(self, call: Request) -> Result:
        narrowed = _narrowed(call.context, call.context.get_all_request_header(call.index))
        self._transformer._context = narrowed  # which keeps the one it was loaded with
        try:
            (answer,) = self._transformer.transform([{"body": bytes(call.body())}], narrowed)
            _pass_on(narrowed, call.context, call.index)
            return checked(Answer(_as_bytes(answer)), self._settings)
        except UnsupportedFormatError as error:
            return RequestError(415, "unsupported_media_type", " ".join(str(error).split()))
        except BaseInferenceToolkitError as error:
            return RequestError(error.status_code, "refused", str(error.message))
        except Exception as error:
            return error


def _as_bytes(answer: Any) -> bytes:
    if isinstance(answer, io.IOBase):
        answer = answer.read()
    return answer.encode() if isinstance(answer, str) else bytes(answer)
