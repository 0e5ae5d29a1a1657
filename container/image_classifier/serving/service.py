"""Answers requests with our own engine: all pictures of all requests of a call go through the network together."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import answers, requests, spool
from image_classifier.serving.answers import Prediction
from image_classifier.serving.engines import Engine
from image_classifier.serving.formats import Options
from image_classifier.serving.prediction import Outcome, Stages, predict
from image_classifier.serving.requests import Bytes, Records
from image_classifier.serving.wire import ALONE, BODY, FOLDER_ENV, OPTIONS

MIB = 1 << 20


@dataclass(frozen=True)
class Request:
    """One request of a call.

    Args:
        sent: the body, where it came with the call.
        context: MMS's context, of all requests of the call.
        index: which of them this is.
    """

    sent: Bytes
    context: Any
    index: int

    def header(self, name: str) -> str | None:
        """What the front door sent with it."""
        value: str | None = self.context.get_request_header(self.index, name)
        return value

    def body(self) -> Bytes:
        """What the caller sent; a large one is read from its file, once.

        Raises:
            RequestError: 503, the file is gone, and so is the caller.
        """
        name = self.header(BODY)
        if name is None:
            return self.sent
        with spool.take(Path(os.environ[FOLDER_ENV]), name) as file:
            return file.read()


@dataclass(frozen=True)
class Answer:
    """An answer with status 200.

    Args:
        content_type: None where a user's script has set it already.
        stages: see wire.STAGES.
    """

    body: bytes
    content_type: str | None = None
    stages: str | None = None


Result = Answer | Exception


def checked(answer: Answer, settings: Settings) -> Result:
    """The answer, where it is not larger than it may be."""
    limit = settings.max_payload_mb
    if len(answer.body) <= limit * MIB:
        return answer
    reason = f"The answer is larger than {limit} MiB (SAGEMAKER_MAX_PAYLOAD_IN_MB); send fewer pictures at a time."
    return RequestError(413, "answer_too_large", reason)


class Service:
    """Answers pictures with our own engine."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._labels = engine.config.labels  # worked out anew at each call, 5 microseconds a class
        self._settings = settings

    def answer(self, calls: Sequence[Request]) -> list[Result]:
        """Answer the requests of one call: each has its answer, or why there is none."""
        stages = Stages()
        opened = [self._open(call) for call in calls]
        stages.lap("decode")
        records = [record for one in opened if isinstance(one, Records) for record in one.records]
        stages.together = len(records)
        alone = all(call.header(ALONE) for call in calls)
        outcomes = iter(predict(self._engine, records, self._settings.max_pixels, stages, alone))
        return [
            self._write(call, one, outcomes, stages) if isinstance(one, Records) else one
            for call, one in zip(calls, opened, strict=True)
        ]

    def _options(self, call: Request) -> Options:
        text = call.header(OPTIONS)
        return Options.from_header(text) if text else Options(top_k=self._settings.top_k)

    def _open(self, call: Request) -> Records | Exception:
        try:
            return requests.read(call.body(), self._options(call), self._settings.max_records)
        except Exception as error:
            return error

    def _write(self, call: Request, opened: Records, outcomes: Iterator[Outcome], stages: Stages) -> Result:
        """Write one answer; takes its share of the outcomes."""
        ours: list[Prediction | RequestError] = []
        for outcome in list(islice(outcomes, len(opened.records))):
            if not isinstance(outcome, Prediction | RequestError):
                return outcome  # a fault of ours, not of one record: the request can be sent again
            ours.append(outcome)
        options = self._options(call)
        in_place = self._settings.batch  # a batch transform gives up a whole file for one answer that is not 200
        try:
            body = answers.write(ours, opened.many, self._labels, options, in_place)
            stages.lap("encode")
        except Exception as error:
            return error
        return checked(Answer(body, options.output, stages.header(len(ours))), self._settings)
