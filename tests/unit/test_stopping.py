"""Signals become a request to stop."""

import os
import signal
from collections.abc import Iterator

import pytest

from image_classifier.training.stopping import Stop, Stopped


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_happens_until_a_stop_is_asked_for() -> None:
    stop = Stop()
    stop.check()
    assert not stop.requested
    stop.request()
    assert stop.requested
    with pytest.raises(Stopped):
        stop.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_the_stop_and_is_said(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop()
    stop.listen()
    os.kill(os.getpid(), number)
    assert stop.requested
    assert f"{number.name} received: stopping after this step." in caplog.text


def test_many_sigterms_are_one() -> None:
    stop = Stop()
    stop.listen()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested


def test_signals_that_were_held_back_are_heard_as_soon_as_somebody_listens() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    signal.raise_signal(signal.SIGTERM)  # to this thread: others of this process hold nothing back
    stop = Stop()
    stop.listen()
    assert stop.requested
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGINT}


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    stop = Stop()
    stop.listen()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
