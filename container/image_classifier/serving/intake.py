"""Reading a request's body: within the limit, not slower than a caller may be, and a large one into a file."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from image_classifier.errors import RequestError
from image_classifier.serving import spool
from image_classifier.serving.sizing import BUFFER, MIB

IDLE_SECONDS = 10  # a caller that sends nothing for so long has gone

Body = bytes | Path  # of the file that holds it


class Budget:
    """The bytes that the bodies of all requests may take together, in memory or in files; there with large answers."""

    def __init__(self, size: int) -> None:
        self.free = size

    def take(self, size: int) -> int:
        """Take so many bytes, and say how many; whoever does gives them back.

        Raises:
            RequestError: 503, so many are not free.
        """
        if size > self.free:
            raise RequestError(503, "busy", "The bodies of other requests fill the room for them; try again.")
        self.free -= size
        return size


@dataclass
class Intake:
    """The body of one request.

    Args:
        limit: bytes.
        memory: for what is held of it.
        files: for what lies in a file.
        folder: where that file is made.
        setting: that says the limit.
    """

    request: web.Request
    limit: int
    memory: Budget
    files: Budget
    folder: Path
    setting: str = " (SAGEMAKER_MAX_PAYLOAD_IN_MB)"
    _held: int = 0  # bytes taken from the memory
    _filed: int = 0  # and from the files
    _file: BinaryIO | None = None

    async def read(self) -> Body:
        """Read the whole body; a large one into a file, which is there until the end.

        Raises:
            RequestError: 413 beyond the limit, 400 not what its headers say, 408 the caller went silent, 503 the
                bodies of others fill the memory or the disk.
        """
        if (self.request.content_length or 0) > self.limit:
            raise self._too_large()
        body = bytearray()
        while chunk := await self._chunk():
            self._held += self.memory.take(len(chunk))
            body += chunk
            if self._filed + len(body) > self.limit:
                raise self._too_large()
            if len(body) > BUFFER:
                await self._put(body)
        if self._file is None:
            return bytes(body)
        await self._put(body)
        return Path(self._file.name)

    def end(self) -> None:
        """Give back what the body takes: it is needed no longer."""
        self.files.free += self._filed
        self._filed = 0
        self._let_go()
        if self._file:
            with suppress(OSError):  # what was not written yet, on a full disk
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    async def _put(self, piece: bytearray) -> None:
        self._filed += self.files.take(len(piece))
        try:
            self._file = self._file or spool.create(self.folder)
            await asyncio.to_thread(_write, self._file, piece)  # a slow disk holds up nobody else
        except OSError as error:
            raise spool.refusal(error) from None
        piece.clear()
        self._let_go()

    def _let_go(self) -> None:
        self.memory.free += self._held
        self._held = 0

    async def _chunk(self) -> bytes:
        content = self.request.content
        try:
            if (come := content.read_nowait()) or content.is_eof():
                return come
            async with asyncio.timeout(IDLE_SECONDS):
                return await content.readany()
        except TimeoutError:
            reason = f"The body stopped coming for {IDLE_SECONDS} seconds; send it again."
            raise RequestError(408, "slow_body", reason) from None
        except web.RequestPayloadError:  # a broken Content-Encoding or chunk
            raise RequestError(400, "bad_body", "The body is not what its headers say; send it as it is.") from None

    def _too_large(self) -> RequestError:
        reason = f"The body is larger than the limit of {self.limit // MIB} MiB{self.setting}."
        return RequestError(413, "too_large", reason)


def _write(file: BinaryIO, piece: bytearray) -> None:
    file.write(piece)
    file.flush()
