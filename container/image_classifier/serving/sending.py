"""Sending an answer to its end: until then its request is not over. A caller that takes none of it has gone."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios

from aiohttp import web

IDLE_SECONDS = 10  # between two looks: a caller that has taken nothing meanwhile has gone
ON_THE_WAY = 1 << 17  # bytes that the kernel may still hold of an answer that counts as sent
SOON, LATER = 0.002, 0.1  # seconds, from the first look at what it holds to the last ones


async def send(request: web.Request, response: web.StreamResponse) -> None:
    """Send an answer; its last bytes may be on the way when this ends.

    Raises:
        ConnectionError: the caller has gone.
    """
    await response.prepare(request)
    await response.write_eof()
    if response.body_length > ON_THE_WAY and request.transport:
        await _delivered(request.transport)


async def _delivered(transport: asyncio.Transport) -> None:
    """Wait for what the kernel holds: it is lost with a container that ends."""
    watch, pause = Watch(transport), SOON
    try:
        while not transport.is_closing() and _held(transport) > ON_THE_WAY:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LATER)
    finally:
        watch.end()


class Watch:
    """Hangs up on a caller to whom nothing more is written, when two looks find that it took nothing between them."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = _held(transport)
        self._go_on()

    def _go_on(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        before, self._left = self._left, _held(self._transport)
        if self._left < before:
            self._go_on()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Drop the connection, and with it what the kernel would try to deliver for minutes."""
        now = struct.pack("ii", True, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self._transport.abort()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()


def _held(transport: asyncio.Transport) -> int:
    """Bytes on this side that the caller's side has not taken."""
    number = transport.get_extra_info("socket").fileno()
    in_kernel = int.from_bytes(fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return transport.get_write_buffer_size() + in_kernel
