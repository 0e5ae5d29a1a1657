"""An asynchronous endpoint's side of a question: the picture goes to S3, and the answer comes from there."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from desk import DeskError
from workflow.account import LOOK_EVERY

_WAKING = 900  # seconds; an endpoint that has shrunk to no instance needs minutes before its first answer


@dataclass(frozen=True)
class Queue:
    """Questions to one endpoint.

    Args:
        endpoint: its name.
        place: s3://bucket/prefix for what is asked.
        s3: client of S3.
        runtime: client of SageMaker's runtime.
        seconds: that the model may work on one question.
    """

    endpoint: str
    place: str
    s3: Any
    runtime: Any
    seconds: int

    def ask(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer to one question; DeskError when the model refuses it or does not answer in time."""
        question = f"{self.place}/{uuid.uuid4()}"
        self.s3.put_object(**_object(question), Body=body)
        places = self.runtime.invoke_endpoint_async(
            EndpointName=self.endpoint, InputLocation=question, InvocationTimeoutSeconds=self.seconds, **headers
        )
        patience = _WAKING + self.seconds
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if (answer := self._read(places["OutputLocation"])) is not None:
                return answer
            if (failure := self._read(places["FailureLocation"])) is not None:
                raise DeskError(f"the model refused it: {failure.decode(errors='replace')[:500]}")
            time.sleep(LOOK_EVERY / 4)
        raise DeskError(f"no answer within {patience} s; it will be in {places['OutputLocation']}")

    def _read(self, place: str) -> bytes | None:
        try:
            return bytes(self.s3.get_object(**_object(place))["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None


def _object(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
