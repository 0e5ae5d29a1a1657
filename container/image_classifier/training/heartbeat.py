"""What the hosts of a job tell each other every second, by datagram: that they live, are asked to stop, or failed.

The processes that train see a lost host only as a broken connection without a name, or, when it froze, not at all.
"""

import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from image_classifier.errors import ExitCode, PlatformError, UserError
from image_classifier.training.stopping import Stop

logger = logging.getLogger(__name__)

PORT = 7777
EVERY = 1.0  # seconds between two words
SILENT = 20.0  # seconds without a word after which a host is lost
START = 900.0  # seconds in which all hosts must be there: some start minutes after others
SAY_EVERY = 10.0  # seconds
_AGAIN = 3  # datagrams get lost: last words are said more than once
_LONGEST = 16_384


State = Literal["alive", "stopping", "done"]


class Failure(BaseModel):
    """Why a host of the job failed."""

    model_config = ConfigDict(frozen=True)

    reason: str = Field(max_length=1024)
    code: ExitCode = ExitCode.PLATFORM
    lost: bool = False  # the reason is only that the connection to another host broke


class Word(BaseModel):
    """What a host says."""

    model_config = ConfigDict(frozen=True)

    host: str
    state: State = "alive"
    gpus: int = 0
    failure: Failure | None = None


@dataclass
class Other:
    """Another host, as far as it was heard."""

    address: str | None = None
    heard: float | None = None  # time.monotonic()
    done: bool = False
    gpus: int = 0


class Heartbeat:
    """Speaks and listens on a thread of its own while the `with` block lasts.

    Args:
        hosts: names of all hosts.
        current: this one.
        stop: this host's; set when another host was asked to stop.
        on_workers: sends a signal to the processes that train: SIGTERM after a request to stop, SIGKILL when another
            host failed or is lost.
        gpus: that this host has.
        silent: seconds without a word after which a host is lost.
    """

    def __init__(
        self,
        hosts: tuple[str, ...],
        current: str,
        stop: Stop,
        on_workers: Callable[[signal.Signals], None],
        gpus: int = 0,
        silent: float = SILENT,
    ) -> None:
        self._current, self._stop, self._signal, self._silent = current, stop, on_workers, silent
        self._gpus = gpus
        self._others = {host: Other() for host in hosts if host != current}
        self._mine: Failure | None = None
        self._theirs = threading.Event()
        self.failure: Failure | None = None  # the first of another host
        self._ended = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._finder = threading.Thread(target=self._find, name="names of hosts", daemon=True)

    def __enter__(self) -> "Heartbeat":
        try:
            self._socket.bind((self._current if _is_address(self._current) else "", PORT))
        except OSError as error:
            self._socket.close()
            raise PlatformError(f"UDP port {PORT} cannot be used ({error.strerror}); end what holds it.") from None
        self._finder.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for _time in range(_AGAIN):
            self._tell("done")
            time.sleep(0.1)
        self._socket.close()

    def wait_for_all(self) -> None:
        """Wait until every host was heard, and say which was not.

        Raises:
            Stopped: asked to stop meanwhile.
            PlatformError: a host does not come.
            UserError: some hosts have GPUs and others have none.
        """
        started = said = time.monotonic()
        while missing := [host for host, other in self._others.items() if other.heard is None]:
            self._stop.check()
            now = time.monotonic()
            names = ", ".join(missing)
            if now - started > START:
                raise PlatformError(
                    f"Nothing was heard of {names} in {START:.0f} seconds; check that all hosts of the job "
                    "started and that their security group lets them talk to each other."
                )
            if now - said > SAY_EVERY:
                said = now
                logger.info("Waiting for %s.", names)
            time.sleep(0.1)
        self._check_gpus()

    def _check_gpus(self) -> None:
        """Those with GPUs would talk by NCCL and the others by gloo, and all would wait for each other."""
        gpus = {self._current: self._gpus, **{host: other.gpus for host, other in self._others.items()}}
        having, others = ([host for host in sorted(gpus) if bool(gpus[host]) is has] for has in (True, False))
        if having and others:
            raise UserError(
                f"{_some(having)} GPUs and {_some(others)} none, so they cannot train together; "
                "give all instance groups of the job GPUs, or none of them."
            )

    def fail(self, failure: Failure) -> None:
        """Tell the others that this host failed."""
        self._mine = failure

    def wait_for_failure(self) -> Failure | None:
        """What another host failed of, for a host that only lost its connection; None when nothing comes."""
        self._theirs.wait(self._silent + 5 * EVERY)
        return self.failure

    def _find(self) -> None:
        """Look up where the others are; a resolver may take many seconds to say that it does not know."""
        while not self._ended.is_set():
            for host, other in self._others.items():
                if other.address is None:
                    with suppress(OSError):  # its name is not known yet
                        other.address = socket.gethostbyname(host)
            self._ended.wait(EVERY)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._tell("stopping" if self._stop.requested else "alive")
            self._listen(time.monotonic() + EVERY)
            self._judge()
            if self.failure:
                self._signal(signal.SIGKILL)
            elif self._stop.requested:  # again and again: a process may have begun after the last time
                self._signal(signal.SIGTERM)

    def _tell(self, state: State) -> None:
        message = Word(host=self._current, state=state, gpus=self._gpus, failure=self._mine).model_dump_json().encode()
        for other in self._others.values():
            try:
                if other.address:
                    self._socket.sendto(message, (other.address, PORT))
            except OSError:  # it is gone, and its silence will tell, or it comes back at another address
                other.address = None

    def _listen(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0 and not self._ended.is_set():
            self._socket.settimeout(min(left, 0.2))
            try:
                message, _ = self._socket.recvfrom(_LONGEST)
                self._hear(Word.model_validate_json(message))
            except (OSError, ValidationError):  # nothing came, or nothing that a host of ours says
                continue

    def _hear(self, word: Word) -> None:
        other = self._others.get(word.host)
        if other is None:
            return
        other.gpus, other.heard = word.gpus, time.monotonic()
        other.done = word.state == "done"
        if word.state == "stopping" and not self._stop.requested:
            logger.info("%s was asked to stop: stopping after this step.", word.host)
            self._stop.request()
        if word.failure:
            self._fail(word.failure)

    def _judge(self) -> None:
        for host, other in self._others.items():
            if other.heard and not other.done and time.monotonic() - other.heard > self._silent:
                seconds = f"{self._silent:.0f} seconds"
                self._fail(Failure(reason=f"Host {host} of the job is lost: nothing was heard of it for {seconds}."))

    def _fail(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure = failure
            self._theirs.set()


def _some(hosts: list[str]) -> str:
    return f"{', '.join(hosts)} {'has' if len(hosts) == 1 else 'have'}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
