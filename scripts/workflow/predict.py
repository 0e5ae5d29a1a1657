"""Pictures in, labels out, by way of an endpoint."""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ValidationError
from sagemaker.predictor import Predictor
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from desk import DeskError
from workflow.account import SCREEN, client, session
from workflow.asking_later import Queue
from workflow.settings import Settings, existing

_TRY_AGAIN = ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException", "InternalFailure")
_BUSY = (429, 503)  # of the container
_AT_A_TIME = 4
Picture = bytes | Path | str | Image.Image | NDArray[np.uint8]


class _Answer(BaseModel):
    """What is read of the image's JSON."""

    topk_labels: tuple[str, ...]
    topk_probs: tuple[float, ...]


@dataclass(frozen=True)
class Prediction:
    """The best labels, the best first, with their probabilities; none where no label is probable enough."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The best."""
        return self.labels[0]


def _worth_another_try(error: BaseException) -> bool:
    if not isinstance(error, ClientError):
        return False
    return error.response["Error"]["Code"] in _TRY_AGAIN or error.response.get("OriginalStatusCode") in _BUSY


class ImagePredictor(Predictor):  # type: ignore[misc]
    """The SDK's Predictor for this image.

    Args:
        endpoint: its name.
        sdk: the SDK's Session.
        model_name: which of a multi-model endpoint's, as NAME.tar.gz.
        queue: where the endpoint is asynchronous.
        top_k: labels in an answer at most; as many as the image gives by itself when 0.
    """

    def __init__(
        self, endpoint: str, sdk: Any = None, model_name: str = "", queue: Queue | None = None, top_k: int = 0
    ) -> None:
        super().__init__(endpoint, sdk)
        self._model_name, self._queue = model_name or None, queue
        self._wishes = {"CustomAttributes": f"top_k={top_k}"} if top_k else {}

    def classify(self, picture: Picture) -> Prediction:
        """Ask about one picture.

        Args:
            picture: bytes of a picture file, its path, a PIL picture, or an array [height, width, 3] of uint8.

        Raises:
            ClientError: the endpoint refused; busy ones were asked again first.
            DeskError: what answers is not this image, or an asynchronous endpoint refused.
        """
        body = self._ask(as_bytes(picture))
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError:
            text = body[:100].decode(errors="replace")
            raise DeskError(f"endpoint {self.endpoint_name} answers otherwise than this image does: {text}") from None
        return Prediction(answer.topk_labels, answer.topk_probs)

    def classify_many(self, pictures: Iterable[Picture]) -> Iterator[Prediction]:
        """Ask about many, several at a time, in their order."""
        with ThreadPoolExecutor(_AT_A_TIME) as workers:
            yield from workers.map(self.classify, pictures)

    def classify_folder(self, folder: Path) -> Iterator[tuple[Path, Prediction]]:
        """Ask about all pictures below a folder, several at a time, in the order of their names."""
        files = _files(folder)
        yield from zip(files, self.classify_many(files), strict=True)

    @retry(  # type: ignore[untyped-decorator]
        retry=retry_if_exception(_worth_another_try),
        stop=stop_after_attempt(5),
        wait=wait_exponential_jitter(multiplier=0.5, max=8),
        reraise=True,
    )
    def _ask(self, body: bytes) -> bytes:
        headers = {"ContentType": "application/octet-stream", "Accept": "application/json", **self._wishes}
        if self._queue:
            return self._queue.ask(body, headers)
        return bytes(self.predict(body, initial_args=headers, target_model=self._model_name))


def _tried(asked: ImagePredictor, file: Path) -> Prediction | str:
    """The answer about a file, or why there is none."""
    try:
        return asked.classify(file)
    except DeskError as error:
        return str(error)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ModelError":
            raise
        said = str(error.response.get("OriginalMessage", error))
    with contextlib.suppress(ValueError, TypeError, KeyError):
        said = json.loads(said)["message"]
    return f"the model refused it: {said}"


def as_bytes(picture: Picture) -> bytes:
    """A picture in any of its forms as bytes of a picture file."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Path | str):
        return Path(picture).read_bytes()
    whole = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()


def predictor(settings: Settings, endpoint: str = "", model_name: str = "", top_k: int = 0) -> ImagePredictor:
    """The predictor of an endpoint, of the project's when none is named; see ImagePredictor."""
    name = endpoint or settings.project
    record = client(settings, "sagemaker").describe_endpoint(EndpointName=name)
    queue = None
    if record.get("AsyncInferenceConfig"):
        runtime = client(settings, "sagemaker-runtime")
        queue = Queue(name, settings.below("questions"), client(settings, "s3"), runtime, settings.asynchronous.seconds)
    return ImagePredictor(name, session(settings), model_name, queue, top_k)


def predict(settings: Settings, path: Path, endpoint: str = "", model_name: str = "", top_k: int = 0) -> None:
    """Print the labels of a picture, or of all pictures below a folder.

    Raises:
        DeskError: some were refused; all the others were answered.
    """
    files = _files(existing(path, "a picture or a folder of pictures"))
    ask = partial(_tried, predictor(settings, endpoint, model_name, top_k))
    refused = 0
    with ThreadPoolExecutor(_AT_A_TIME) as workers:
        for file, answer in zip(files, workers.map(ask, files), strict=True):
            refused += isinstance(answer, str)
            SCREEN.print(f"{file}: {answer if isinstance(answer, str) else _line(answer)}", markup=False)
    if refused:
        raise DeskError(f"{refused} of {len(files)} pictures got no answer")


def _line(answer: Prediction) -> str:
    best = zip(answer.labels, answer.probabilities, strict=True)
    return ", ".join(f"{label} {share:.1%}" for label, share in best)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("[!.]*") if file.is_file()) if path.is_dir() else [path]
