"""What hosts hear of each other: all of them on this machine's loopback network, each with an address of its own."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import pytest

from image_classifier.errors import ExitCode, PlatformError, UserError
from image_classifier.training import heartbeat
from image_classifier.training.heartbeat import Failure, Heartbeat
from image_classifier.training.stopping import Stop, Stopped

SILENT = 3.0


@pytest.fixture
def names(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Addresses that no other test uses, now or in a parallel run."""
    number = sum(map(ord, request.node.name)) % 250
    return tuple(f"127.{os.getpid() % 250 + 1}.{number}.{host}" for host in (1, 2, 3))


class Host:
    """One host with its processes."""

    def __init__(self, names: tuple[str, ...], current: str, gpus: int = 0) -> None:
        self.stop = Stop()
        self.sent: list[signal.Signals] = []
        self.heartbeat = Heartbeat(names, current, self.stop, self.sent.append, gpus, SILENT)


@pytest.fixture
def hosts(names: tuple[str, ...]) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        made = [Host(names, name) for name in names]
        for host in made:
            stack.enter_context(host.heartbeat)
        yield made


def until(what: object, seconds: float = 10.0) -> None:
    assert callable(what)
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_all_hosts_find_each_other_and_a_stop_of_one_reaches_the_processes_of_all(hosts: list[Host]) -> None:
    for host in hosts:
        host.heartbeat.wait_for_all()
    hosts[2].stop.request()
    for host in hosts:
        until(lambda host=host: host.stop.requested and signal.SIGTERM in host.sent)
        assert signal.SIGKILL not in host.sent
        assert host.heartbeat.failure is None


@pytest.mark.parametrize("gpus", [(4, 0, 8), (0, 0, 0), (1, 4, 4)])
def test_hosts_with_gpus_and_hosts_without_end_with_a_sentence_that_names_them(
    names: tuple[str, ...], gpus: tuple[int, ...]
) -> None:
    mixed = 0 in gpus and any(gpus)
    made = [Host(names, name, count) for name, count in zip(names, gpus, strict=True)]
    said = (
        rf"^{names[0]}, {names[2]} have GPUs and {names[1]} has none, .*; give all instance groups of the job GPUs, or"
    )
    with ExitStack() as stack:
        for host in made:
            stack.enter_context(host.heartbeat)
        for host in made:
            with pytest.raises(UserError, match=said) if mixed else nullcontext():
                host.heartbeat.wait_for_all()


def test_the_reason_of_one_host_ends_the_processes_of_the_others(names: tuple[str, ...]) -> None:
    first, second, third = (Host(names, name) for name in names)
    failure = Failure(reason="Host b: the loss is no longer a number.", code=ExitCode.USER)
    with first.heartbeat, third.heartbeat:
        with second.heartbeat:
            second.heartbeat.wait_for_all()
            second.heartbeat.fail(failure)
        for host in (first, third):
            assert host.heartbeat.wait_for_failure() == failure
            until(lambda host=host: signal.SIGKILL in host.sent)


def test_a_silent_host_is_lost_and_named(names: tuple[str, ...]) -> None:
    first = Host(names[:2], names[0])
    with first.heartbeat, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.sendto(heartbeat.Word(host=names[1]).model_dump_json().encode(), (names[0], heartbeat.PORT))
        first.heartbeat.wait_for_all()
        found = first.heartbeat.wait_for_failure()
    assert found == Failure(reason=f"Host {names[1]} of the job is lost: nothing was heard of it for 3 seconds.")
    assert found.code == ExitCode.PLATFORM


def test_a_host_that_is_done_may_be_silent(names: tuple[str, ...]) -> None:
    first, second = Host(names[:2], names[0]), Host(names[:2], names[1])
    with first.heartbeat:
        with second.heartbeat:
            first.heartbeat.wait_for_all()
        time.sleep(SILENT + 1)
        assert first.heartbeat.failure is None


def test_what_no_host_of_the_job_says_is_not_heard(names: tuple[str, ...]) -> None:
    first = Host(names[:2], names[0])
    stranger = heartbeat.Word(host="stranger", state="stopping", failure=Failure(reason="ha"))
    with first.heartbeat, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for message in (b"", b"\xff", b"[]", b'{"host": 1}', stranger.model_dump_json().encode(), b"[" * 9000):
            sender.sendto(message, (names[0], heartbeat.PORT))
        time.sleep(0.5)
        assert not first.stop.requested
        assert first.heartbeat.failure is None


def test_a_host_that_does_not_come_is_named(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "START", 1.5)
    monkeypatch.setattr(heartbeat, "SAY_EVERY", 0.5)
    first = Host((names[0], "no-such-host.invalid"), names[0])
    with (
        first.heartbeat,
        pytest.raises(PlatformError, match=r"Nothing was heard of no-such-host\.invalid in 2 seconds;"),
    ):
        first.heartbeat.wait_for_all()
    assert "Waiting for no-such-host.invalid." in caplog.messages


def test_hosts_hear_each_other_while_the_name_of_a_third_is_looked_up_for_long(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = socket.gethostbyname

    def slowly(name: str) -> str:
        if name == "late.invalid":
            time.sleep(SILENT + 2)
        return find(name)

    monkeypatch.setattr(socket, "gethostbyname", slowly)
    first, second = (Host((*names[:2], "late.invalid"), name) for name in names[:2])
    with first.heartbeat, second.heartbeat:
        time.sleep(2 * SILENT + 3)
        for host, other in ((first, names[1]), (second, names[0])):
            assert host.heartbeat.failure is None
            heard = host.heartbeat._others[other].heard
            assert heard is not None
            assert time.monotonic() - heard < SILENT


def test_a_stop_ends_the_waiting(names: tuple[str, ...]) -> None:
    first = Host(names, names[0])
    with first.heartbeat:
        first.stop.request()
        with pytest.raises(Stopped):
            first.heartbeat.wait_for_all()


def test_a_port_that_is_taken_is_named(names: tuple[str, ...]) -> None:
    with Host(names, names[0]).heartbeat, pytest.raises(PlatformError, match="UDP port 7777 cannot be used"):
        Host(names, names[0]).heartbeat.__enter__()
