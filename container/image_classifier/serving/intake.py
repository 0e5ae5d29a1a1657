"""Reading a request's body: within the limit, not slower than a caller may be, and large ones never as a whole."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from image_classifier.errors import RequestError
from image_classifier.serving.sizing import BUFFER, MIB

IDLE_SECONDS = 10  # a caller that sends nothing for so long has gone

Body = bytes | AsyncIterator[bytes]


class Budget:
    """The bytes that the bodies of all requests may take in the front door together."""

    def __init__(self, size: int) -> None:
        self.free = size

    def take(self, size: int) -> None:
        """Take so many bytes; whoever does gives them back.

        Raises:
            RequestError: 503, so many are not free.
        """
        if size > self.free:
            raise RequestError(503, "busy", "The bodies of other requests fill the memory for them; try again.")
        self.free -= size


@dataclass
class Intake:
    """The body of one request.

    Args:
        limit: bytes.
    """

    request: web.Request
    limit: int
    budget: Budget
    taken: int = 0  # of the budget
    refusal: RequestError | None = None  # why a body that is passed on as it comes was cut off

    async def read(self) -> Body:
        """Read a small body; of a large one the beginning, the rest follows as it is asked for.

        Raises:
            RequestError: 413 beyond the limit, 400 not what its headers say, 408 the caller went silent, 503 the
                bodies of others fill the budget.
        """
        if (self.request.content_length or 0) > self.limit:
            raise self._too_large()
        body = bytearray()
        while chunk := await self._chunk():
            self.budget.take(len(chunk))
            self.taken += len(chunk)
            body += chunk
            if len(body) > self.limit:
                raise self._too_large()
            if len(body) > BUFFER:
                return self._stream(bytes(body))
        return bytes(body)

    def end(self) -> None:
        """Give the budget back: the body is needed no longer."""
        self.budget.free += self.taken
        self.taken = 0

    async def _stream(self, head: bytes) -> AsyncIterator[bytes]:
        yield head
        size = len(head)
        try:
            while chunk := await self._chunk():
                size += len(chunk)
                if size > self.limit:
                    raise self._too_large()
                yield chunk
        except RequestError as error:
            self.refusal = error
            raise

    async def _chunk(self) -> bytes:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await self.request.content.readany()
        except TimeoutError:
            reason = f"The body stopped coming for {IDLE_SECONDS} seconds; send it again."
            raise RequestError(408, "slow_body", reason) from None
        except web.RequestPayloadError:  # a broken Content-Encoding or chunk
            raise RequestError(400, "bad_body", "The body is not what its headers say; send it as it is.") from None

    def _too_large(self) -> RequestError:
        reason = f"The body is larger than the limit of {self.limit // MIB} MiB (SAGEMAKER_MAX_PAYLOAD_IN_MB)."
        return RequestError(413, "too_large", reason)
