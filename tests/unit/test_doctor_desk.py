"""`make doctor`: what the desk sees of itself and of the image from outside, and how the findings are put together."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import check_desk
import desk
import doctor
import doctor_checks
import ways
from doctor_checks import Finding

ROOT = Path(doctor_checks.__file__).resolve().parent.parent
IMAGE: dict[str, Any] = {
    "Os": "linux",
    "Architecture": "amd64",
    "Size": 7_772_000_000,
    "Config": {
        "Entrypoint": None,
        "Cmd": ["train"],
        "Env": ["PATH=/opt/venv/bin", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
        "Labels": {
            "com.amazonaws.sagemaker.capabilities.multi-models": "true",
            "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
            "org.opencontainers.image.version": "v1",
        },
    },
}
INSIDE = {
    "status": "ok",
    "parts": {"host": [], "image": [{"status": "ok", "what": "inside", "remedy": ""}], "model": []},
}
# A docker client whose image is described by IMAGE and whose `doctor` says SAYS.
DOCKER = """#!/bin/sh
case "$1" in
    build) echo "${BUILDER---progress}" ;;
    image) cat "$(dirname "$0")/image.json" ;;
    run) echo "$@" >>"$(dirname "$0")/runs"; cat "$(dirname "$0")/says.json"; echo broken >&2; exit "${RUN_CODE:-0}" ;;
    version) echo "27.1 (linux/amd64)" ;;
    *) echo "runc" ;;
esac
"""
Described = Callable[..., None]


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    client = program(tmp_path / "bin" / "docker", DOCKER)
    (client.parent / "image.json").write_text(json.dumps([IMAGE]))
    (client.parent / "says.json").write_text(json.dumps(INSIDE))
    monkeypatch.setenv("ENGINE", str(client))
    monkeypatch.setenv("IMAGE", "mine")
    return client


def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts" / "doctor.py"), *words]
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", "PATH": "/usr/bin:/bin", **environ}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class TestTheWhole:
    def test_desk_host_image_and_model_in_one_report(self, docker: Path, tmp_path: Path) -> None:
        done = run("--json", "--model", str(tmp_path))
        told = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout
        assert list(told["parts"]) == ["desk", "host", "image", "model"]
        assert [each["what"] for each in told["parts"]["image"]][-1] == "inside"
        (command,) = (docker.parent / "runs").read_text().splitlines()
        assert f"-v {tmp_path}:/opt/ml/model:ro mine doctor --json" in command
        assert "--read-only --tmpfs /tmp --network none" in command

    def test_a_problem_inside_is_the_exit_code(self, docker: Path) -> None:
        inside = {"parts": {"model": [{"status": "problem", "what": "broken model", "remedy": "train again"}]}}
        (docker.parent / "says.json").write_text(json.dumps(inside))
        done = run(RUN_CODE="1")
        assert done.returncode == 1
        assert "  problem  broken model\n           -> train again\n" in done.stdout
        assert done.stdout.endswith("1 problem(s)\n")
        assert "\033" not in done.stdout, "colours are for a terminal"

    def test_an_image_whose_doctor_does_not_run_is_a_problem_with_the_reason(self, docker: Path) -> None:
        (docker.parent / "says.json").write_text("")
        done = run(RUN_CODE="127")
        assert done.returncode == 1
        assert "`doctor` did not run (broken)" in done.stdout

    def test_a_venv_without_the_command_is_a_problem_with_the_remedy(self, tmp_path: Path) -> None:
        (finding,) = doctor.ask_inside(desk.Command((str(tmp_path / "doctor"), "--json"), 5))["image"]
        assert (finding.status, finding.remedy) == ("problem", "bring .venv up to date: `make setup`")
        assert "No such file or directory" in finding.what

    def test_an_engine_that_does_not_answer_is_a_problem_not_a_crash(self) -> None:
        done = run(ENGINE="/nowhere")
        assert done.returncode == 1
        assert "ENGINE=/nowhere does not answer" in done.stdout
        assert not done.stderr

    def test_a_model_that_is_not_there_is_a_wrong_command_line(self, docker: Path) -> None:
        done = run("--model", "/nowhere")
        assert done.returncode == 2
        assert "--model (MODEL) must be a model directory; '/nowhere' is not there" in done.stderr

    def test_without_an_engine_the_doctor_of_venv_is_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ways, "OUT", tmp_path / "out")
        way = ways.InVenv(tmp_path / ".venv")
        command = way.doctor(tmp_path)
        assert command.argv == (str(tmp_path / ".venv/bin/doctor"), "--json")
        assert (Path(command.environment["SAGEMAKER_BASE_DIR"]) / "model").resolve() == tmp_path
        way.doctor(None)
        assert not (tmp_path / "out/doctor/model").exists(), "an earlier look leaves no model behind"


class TestDesk:
    def test_an_engine_that_builds_is_named(self, docker: Path) -> None:
        wanted = f"container engine: {docker}, 27.1 (linux/amd64), with BuildKit"
        assert doctor_checks.engine() == Finding("ok", wanted)

    def test_an_engine_without_buildkit_is_a_problem(self, docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BUILDER", "classic")
        assert "without BuildKit" in doctor_checks.engine().what
        assert doctor_checks.engine().status == "problem"

    def test_a_gpu_that_the_engine_cannot_hand_on_is_a_warning(
        self, docker: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(docker.parent / "nvidia-smi", "#!/bin/sh\n")
        monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
        assert doctor_checks.engine().remedy == "install nvidia-container-toolkit"

    def test_without_an_engine_venv_must_be_possible(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE", "none")
        assert doctor_checks.engine().status == "ok"
        monkeypatch.setattr(check_desk, "problem", lambda: "Python 3.11 is needed")
        assert doctor_checks.engine().status == "problem"
        assert "Python 3.11 is needed" in doctor_checks.engine().what

    def test_a_taken_port_is_a_warning(self) -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            port = server.getsockname()[1]
            assert doctor_checks.free_port(port).status == "warning"
        assert doctor_checks.free_port(port).status == "ok"

    @pytest.mark.parametrize(("name", "found"), [("ROOM", doctor_checks.room), ("MEMORY", doctor_checks.memory)])
    def test_little_disk_or_memory_is_a_warning(
        self, name: str, found: Callable[[], Finding], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor_checks, name, 1 << 60)
        assert found().status == "warning"
        monkeypatch.setattr(doctor_checks, name, 1)
        assert found().status == "ok"

    @pytest.mark.parametrize(
        ("client", "region", "status", "words"),
        [
            ("", "", "warning", "the AWS CLI is not on PATH"),
            ("exit 255", "", "warning", "AWS credentials: none that work"),
            ('[ "$1" = sts ] && echo arn:me', "", "warning", "AWS: arn:me, but no region is set"),
            ('[ "$1" = sts ] && echo arn:me', "eu-west-1", "ok", "AWS: arn:me in eu-west-1"),
        ],
    )
    def test_aws_is_needed_only_for_aws(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, region: str, status: str, words: str
    ) -> None:
        if client:
            program(tmp_path / "aws", f"#!/bin/sh\n{client}\n")
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("AWS_REGION", region)
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        assert (doctor_checks.aws().status, doctor_checks.aws().what) == (status, words)


class TestImageFromOutside:
    def look(self, docker: Path, **changes: Any) -> list[Finding]:
        described = {**IMAGE, **changes}
        (docker.parent / "image.json").write_text(json.dumps([described]))
        return doctor_checks.image(str(docker), "mine")

    def test_an_engine_that_says_nothing_of_it_is_a_problem(self) -> None:
        (finding,) = doctor_checks.image("false", "mine")
        assert finding.what == "false does not describe the image mine"

    def test_our_own_image_has_nothing_wrong(self, docker: Path) -> None:
        assert {finding.status for finding in self.look(docker)} == {"ok"}

    @pytest.mark.parametrize(
        ("changes", "status", "words"),
        [
            ({"Architecture": "arm64"}, "problem", "linux/arm64"),
            ({"Size": 10_500_000_000}, "warning", "10.5 GB"),
            ({"Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json"}}, "warning", "SageMaker refuses"),
        ],
    )
    def test_what_sagemaker_refuses(self, docker: Path, changes: dict[str, Any], status: str, words: str) -> None:
        (bad,) = (finding for finding in self.look(docker, **changes) if finding.status != "ok")
        assert bad.status == status
        assert words in bad.what
        assert bad.remedy

    @pytest.mark.parametrize(
        ("changes", "status", "words"),
        [
            ({"Entrypoint": ["/bin/tini"]}, "warning", "ENTRYPOINT ['/bin/tini'] comes before"),
            ({"Labels": None}, "problem", "multi-model endpoints refuse it"),
            ({"Env": ["PATH=/bin"]}, "problem", "NVIDIA_DRIVER_CAPABILITIES, NVIDIA_VISIBLE_DEVICES is not set"),
            ({"Env": [*IMAGE["Config"]["Env"], "NVIDIA_REQUIRE_CUDA=cuda>=12"]}, "warning", "ends without one line"),
        ],
    )
    def test_a_configuration_that_does_not_suit(
        self, docker: Path, changes: dict[str, Any], status: str, words: str
    ) -> None:
        (bad,) = (each for each in self.look(docker, Config={**IMAGE["Config"], **changes}) if each.status != "ok")
        assert (bad.status, bool(bad.remedy)) == (status, True)
        assert words in bad.what
