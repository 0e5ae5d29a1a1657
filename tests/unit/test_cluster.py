"""Who takes part in a job, and what is said when a process of it fails."""

import os
import signal
from pathlib import Path

import pytest

from image_classifier import machine
from image_classifier.errors import ExitCode, PlatformError, UserError
from image_classifier.training import cluster, worker
from image_classifier.training.cluster import Cluster
from image_classifier.training.heartbeat import Failure

TWO = {"current_host": "algo-2", "hosts": ["algo-2", "algo-1"], "network_interface_name": "eth0"}
LOST = Failure(reason="The connection to another process of the job broke (x).", lost=True)
DAMAGED = Failure(reason="1 picture cannot be used.", code=ExitCode.USER)


def test_ranks_follow_the_sorted_names() -> None:
    found = cluster.read(TWO, gpus=0)
    assert found == Cluster(hosts=("algo-1", "algo-2"), current="algo-2", interface="eth0", processes=1)
    assert (found.rank, found.is_alone) == (1, False)
    assert (
        found.describe() == "Distributed: host 2 of 2 (algo-2), 1 process(es) here, over eth0, by gloo through sockets."
    )


@pytest.mark.parametrize("config", [{}, {"current_host": "algo-1", "hosts": ["algo-1"]}, {"hosts": []}])
def test_one_host_without_gpus_or_with_one_is_alone(config: dict[str, object]) -> None:
    assert cluster.read(config, gpus=0).is_alone
    assert cluster.read(config, gpus=1).is_alone
    assert not cluster.read(config, gpus=4).is_alone


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "shared_memory", lambda: 64 << 20)


def test_the_network_libraries_are_told_the_interface_when_it_is_there() -> None:
    assert cluster._environment(Cluster(("a", "b"), "a", "lo", 1))["GLOO_SOCKET_IFNAME"] == "lo"
    assert cluster._environment(Cluster(("a", "b"), "a", "no-such", 1)) == {}
    assert cluster._environment(Cluster(("a",), "a", "lo", 1)) == {}


@pytest.mark.usefixtures("shared")
def test_a_small_dev_shm_is_said_and_gpus_do_without_it(caplog: pytest.LogCaptureFixture) -> None:
    assert cluster._environment(Cluster(("a", "b"), "a", "", 1)) == {}
    assert caplog.messages == []
    assert cluster._environment(Cluster(("a",), "a", "", 4)) == {"NCCL_SHM_DISABLE": "1"}
    assert caplog.messages[0].startswith("/dev/shm is 64 MiB, too little for 4 GPUs: ")


def why(folder: Path, reports: list[Failure], codes: list[int], hosts: tuple[str, ...] = ("a", "b")) -> Failure:
    for number, report in enumerate(reports):
        path = folder / f"{number}.json"
        path.write_text(report.model_dump_json(), encoding="utf-8")
        os.utime(path, (number, number))
    return cluster._why(Cluster(hosts, "b", "", 2), folder, codes)


def test_a_reason_counts_more_than_the_broken_connections_that_follow_from_it(tmp_path: Path) -> None:
    found = why(tmp_path, [LOST, DAMAGED], [3, 1])
    assert found == Failure(reason="Host b: 1 picture cannot be used.", code=ExitCode.USER)


def test_on_one_host_its_name_says_nothing(tmp_path: Path) -> None:
    assert why(tmp_path, [DAMAGED], [1], hosts=("b",)) == DAMAGED


def test_a_process_that_the_kernel_ended_is_named_with_the_signal(tmp_path: Path) -> None:
    found = why(tmp_path, [LOST], [-signal.SIGKILL, 3])
    assert found.reason == "Host b: A process was ended by SIGKILL; it may have run out of memory."
    assert (found.code, found.lost) == (ExitCode.PLATFORM, False)


def test_a_broken_connection_alone_is_another_hosts_failure(tmp_path: Path) -> None:
    assert why(tmp_path, [LOST], [3]) == LOST


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (UserError("Do this."), Failure(reason="Do this.", code=ExitCode.USER)),
        (PlatformError("Full."), Failure(reason="Full.", code=ExitCode.PLATFORM)),
        (KeyError("x"), Failure(reason="KeyError: 'x'", code=ExitCode.ALGORITHM)),
    ],
)
def test_a_process_says_why_it_failed(error: Exception, wanted: Failure) -> None:
    assert worker.why(error) == wanted


def test_a_broken_connection_is_known_by_its_words() -> None:
    error = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [x]")
    assert worker.why(error).lost
    assert not worker.why(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).lost
