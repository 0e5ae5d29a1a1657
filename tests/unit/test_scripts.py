"""The scripts of the desk: the pictures they make, the base directory they lay out, starting and stopping."""

import importlib.util
import io
import json
import os
import platform
import random
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import check_desk
import demo
import desk
import local
import ways
from sample_pictures import CLASSES, SIZE, draw, make_pictures, png

SCRIPTS = Path(demo.__file__).parent

# A door that does what the desk needs of the real one, and writes down how it was opened.
FAKE_TRAIN = """
import json, os, pathlib
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
values = json.loads((base / "input/config/hyperparameters.json").read_text())
if values.get("epochs") == "0":
    raise SystemExit(3)
pictures = sorted(path.name for path in (base / "input/data/training/train").iterdir())
(base / "model" / "labels.json").write_text(json.dumps(pictures))
"""
FAKE_SERVE = """
import json, os, pathlib, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
labels = json.loads((pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model/labels.json").read_text())
if labels == ["broken"]:
    sys.exit("the model cannot be loaded: it is broken")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        good = self.headers["Content-Type"] == "image/png"
        answer = {"topk_indices": [0, 1], "topk_labels": labels[:2], "topk_probs": [0.75, 0.25]}
        self.answer(answer if good else {"error": "unknown type"}, 200 if good else 415)
    def answer(self, body, status=200):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
# Answers like a docker client; with BROKEN=build it is one whose builder is missing.
FAKE_DOCKER = """#!/bin/sh
case "$1 $BROKEN" in
    "build build") exit 1 ;;
    "info all") exit 1 ;;
esac
echo "${SECURITY:-seccomp}"
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose .venv holds the fake doors, on a desk without an engine."""
    for name, source in {"train": FAKE_TRAIN, "serve": FAKE_SERVE}.items():
        executable(tmp_path / ".venv" / "bin" / name, f"#!{sys.executable}\n{source}")
    (tmp_path / ".venv" / "product.stamp").touch()
    monkeypatch.setenv("ENGINE", "none")
    monkeypatch.chdir(tmp_path)
    for module in (ways, local, demo):
        monkeypatch.setattr(module, "OUT", tmp_path / "out")
    monkeypatch.setattr(ways, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_pictures(tmp_path / "data", {"train": 1, "test": 2})
    return tmp_path / "data"


class TestSamplePictures:
    def test_every_class_of_every_split_gets_its_pictures(self, tmp_path: Path) -> None:
        assert make_pictures(tmp_path, {"train": 3, "valid": 2}) == 5 * len(CLASSES)
        found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")}
        wanted = {Path(split, label, f"{n:03}.png") for split, n in (("train", 3), ("valid", 1)) for label in CLASSES}
        assert wanted <= found
        assert len(found) == 5 * len(CLASSES)

    def test_a_picture_is_a_png_of_two_colours_that_others_can_read(self, tmp_path: Path) -> None:
        make_pictures(tmp_path, {"train": 2})
        for path in tmp_path.rglob("*.png"):
            with Image.open(path) as picture:
                picture.load()
                assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (SIZE, SIZE))
                assert len(picture.getcolors()) == 2

    def test_png_keeps_each_pixel(self) -> None:
        rows = [b"\x01\x02\x03\xff\x00\x80", b"\x00\x00\x00\x10\x20\x30"]
        with Image.open(io.BytesIO(png(rows))) as picture:
            assert picture.tobytes() == b"".join(rows)

    def test_the_seed_decides_and_more_pictures_change_no_earlier_one(self, tmp_path: Path) -> None:
        for name, count, seed in (("few", 2, 1), ("many", 4, 1), ("other", 2, 2)):
            make_pictures(tmp_path / name, {"train": count}, seed)
        few, many, other = (
            [path.read_bytes() for path in sorted((tmp_path / name).glob("train/*/00[12].png"))]
            for name in ("few", "many", "other")
        )
        assert few == many
        assert not set(few) & set(other)

    def test_classes_differ_in_what_is_drawn_not_in_colour(self) -> None:
        drawn = {label: tuple(draw(label, random.Random(7))) for label in CLASSES}
        assert len(set(drawn.values())) == len(CLASSES)


class TestLayout:
    def test_the_three_config_files_are_as_sagemaker_writes_them(self, tmp_path: Path) -> None:
        ways.lay_out(tmp_path, {"epochs": "3"}, {"training": tmp_path}, "algo-1")
        config = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "input/config").iterdir()}
        assert config["hyperparameters"] == {"epochs": "3"}
        assert config["inputdataconfig"]["training"]["TrainingInputMode"] == "File"
        assert config["resourceconfig"]["current_host"] == "algo-1"
        assert config["resourceconfig"]["hosts"] == ["algo-1"]

    def test_a_second_job_keeps_only_the_checkpoints(self, tmp_path: Path) -> None:
        ways.lay_out(tmp_path, {}, {}, "algo-1")
        for place in ("model/old", "output/failure", "checkpoints/last", "input/data/old"):
            (tmp_path / place).touch()
        ways.lay_out(tmp_path, {}, {}, "algo-1")
        assert [path.name for path in tmp_path.rglob("*") if path.name in ("old", "failure", "last")] == ["last"]

    def test_without_an_engine_channels_are_links(self, tmp_path: Path, data: Path) -> None:
        base, weights = tmp_path / "base", tmp_path / "backbone.pth"
        weights.write_bytes(b"weights")
        channels = {"training": data, "pretrained": weights}
        way = ways.InVenv(tmp_path / ".venv")
        ways.lay_out(base, {}, channels, way.host)
        command = way.train(base, channels)
        assert (base / "input/data/training").resolve() == data
        assert (base / "input/data/pretrained/backbone.pth").read_bytes() == b"weights"
        assert command.environment["SAGEMAKER_BASE_DIR"] == str(base)
        assert command.environment["OMP_WAIT_POLICY"] == "passive"
        assert command.argv == (str(tmp_path / ".venv/bin/train"),)

    def test_serve_links_the_model_anew_each_time(self, root: Path) -> None:
        for name in ("first", "second"):
            (root / name).mkdir()
            command = ways.InVenv(root / ".venv").serve(root / name, 8123, {"CLASSIFIER_PAGE": "true"})
        base = Path(command.environment["SAGEMAKER_BASE_DIR"])
        assert (base / "model").resolve() == root / "second"
        assert command.environment["SAGEMAKER_BIND_TO_PORT"] == "8123"
        assert command.environment["CLASSIFIER_PAGE"] == "true"


class TestEngine:
    def test_a_client_that_cannot_build_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        executable(tmp_path / "one" / "docker", FAKE_DOCKER.replace("$BROKEN", "build"))
        executable(tmp_path / "two" / "docker", FAKE_DOCKER)
        monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:{tmp_path / 'two'}:{os.environ['PATH']}")
        monkeypatch.delenv("ENGINE", raising=False)
        assert ways.find_engine() == str(tmp_path / "two" / "docker")

    def test_no_engine_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        executable(tmp_path / "docker", FAKE_DOCKER.replace("$BROKEN", "all"))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("ENGINE", raising=False)
        assert ways.find_engine() is None

    def test_a_named_engine_that_is_dead_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE", "/nowhere/docker")
        with pytest.raises(desk.DeskError, match="ENGINE=/nowhere/docker does not answer"):
            ways.find_engine()

    def test_train_mounts_the_whole_base_and_each_channel_read_only(self, tmp_path: Path, data: Path) -> None:
        docker = str(executable(tmp_path / "docker", FAKE_DOCKER))
        weights = tmp_path / "backbone.pth"
        weights.touch()
        base = tmp_path / "base"
        command = ways.InImage(docker, "image").train(base, {"training": data, "pretrained": weights})
        words = command.argv
        mounts = [after for word, after in pairwise(words) if word == "-v"]
        assert mounts == [
            f"{base}:/opt/ml",
            f"{data}:/opt/ml/input/data/training:ro",
            f"{weights}:/opt/ml/input/data/pretrained/backbone.pth:ro",
        ]
        assert words[-2:] == ("image", "train")
        assert "OMP_WAIT_POLICY=passive" in words
        assert words[words.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
        # The engine would make missing mount points as root.
        assert (base / "input/data/training").is_dir()
        assert (base / "input/data/pretrained/backbone.pth").is_file()
        assert command.kill == (docker, "rm", "--force", words[words.index("--name") + 1])

    def test_serve_listens_on_the_loopback_address_only(self, tmp_path: Path) -> None:
        docker = str(executable(tmp_path / "docker", FAKE_DOCKER))
        words = ways.InImage(docker, "image").serve(tmp_path, 8123, {"CLASSIFIER_PAGE": "true"}).argv
        assert words[words.index("-p") + 1] == "127.0.0.1:8123:8080"
        assert words[words.index("CLASSIFIER_PAGE=true") - 1] == "--env"
        assert f"{tmp_path}:/opt/ml/model:ro" in words

    def test_a_rootless_engine_maps_users_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        docker = str(executable(tmp_path / "docker", FAKE_DOCKER))
        monkeypatch.setenv("SECURITY", "[name=seccomp name=rootless]")
        assert "--user" not in ways.InImage(docker, "image").serve(tmp_path, 8123).argv


class TestProcesses:
    def test_the_exit_code_is_the_commands(self) -> None:
        assert desk.run(desk.Command(("sh", "-c", "exit 7"), 5)) == 7
        assert desk.run(desk.Command(("sh", "-c", "kill -9 $$"), 5)) == 128 + 9

    def test_leaving_stops_with_sigterm(self, tmp_path: Path) -> None:
        script = f"trap 'touch {tmp_path}/asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        with desk.running(desk.Command(("sh", "-c", script), 10), subprocess.PIPE) as running:
            assert running.process.stdout is not None
            assert running.process.stdout.readline() == b"up\n"
        running.process.stdout.close()
        assert running.process.returncode == 0
        assert (tmp_path / "asked").exists()

    def test_what_does_not_stop_is_killed_after_the_grace(self, tmp_path: Path) -> None:
        stubborn = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
        command = desk.Command(stubborn, 1, kill=("touch", str(tmp_path / "killed")))
        running = desk.Running(command, subprocess.PIPE)
        assert running.process.stdout is not None
        running.process.stdout.readline()
        running.stop()
        running.process.stdout.close()
        assert running.process.returncode == -signal.SIGKILL
        assert (tmp_path / "killed").exists()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_is_passed_on_as_sigterm_and_the_commands_exit_code_counts(self, number: int) -> None:
        program = (
            "import sys; import desk; desk.raise_on_signals();"
            "script = \"trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done\";"
            "sys.exit(desk.run(desk.Command(('sh', '-c', script), 10)))"
        )
        with subprocess.Popen([sys.executable, "-c", program], cwd=SCRIPTS, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait(10) == 5


class TestLocal:
    def test_train_says_where_the_model_is(self, root: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
        options = ["train", "--data", str(data), "--base-dir", "base", "--hyperparameter", "note=a=b"]
        assert local.train(local.options_of(options)) == 0
        assert f"model: {root / 'base/model'}" in capfd.readouterr().out
        assert json.loads((root / "base/model/labels.json").read_text()) == list(CLASSES)
        assert json.loads((root / "base/input/config/hyperparameters.json").read_text()) == {"note": "a=b"}

    def test_each_job_has_its_own_base_and_out_train_leads_to_the_last(self, root: Path, data: Path) -> None:
        (root / "out/train-earlier/model").mkdir(parents=True)
        (root / "out/train").symlink_to(root / "out/train-earlier")
        assert local.train(local.options_of(["train", "--data", str(data)])) == 0
        assert (root / "out/train/model/labels.json").exists()
        assert list((root / "out/train-earlier/model").iterdir()) == []

    def test_a_failed_train_is_said_and_its_exit_code_kept(
        self, root: Path, data: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert local.train(local.options_of(["train", "--data", str(data), "--hyperparameter", "epochs=0"])) == 3
        assert "`train` failed with exit code 3" in capfd.readouterr().out

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (
                ["train", "--data", "/nowhere"],
                "--data (DATA) must be a folder of pictures; '/nowhere' is not there",
            ),
            (["train", "--data", ""], "--data (DATA) must be a folder of pictures; '' is not there"),
            (
                ["train", "--data", ".", "--hyperparameter", "epochs"],
                "hyperparameter 'epochs' is not NAME=VALUE",
            ),
            (["serve", "--model", "/nowhere"], "--model (MODEL) must be a model directory made by `train`"),
        ],
    )
    def test_a_users_error_is_one_sentence(self, words: list[str], sentence: str) -> None:
        done = subprocess.run(
            [sys.executable, SCRIPTS / "local.py", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("local.py: ")
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_a_missing_image_or_venv_names_the_make_target(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / ".venv/product.stamp").unlink()
        with pytest.raises(desk.DeskError, match="make setup"):
            ways.choose_way()
        docker = executable(root / "docker", FAKE_DOCKER.replace("echo", '[ "$1" = image ] || echo'))
        monkeypatch.setenv("ENGINE", str(docker))
        monkeypatch.setenv("IMAGE", "mine")
        with pytest.raises(desk.DeskError, match="there is no image mine; make it with `make build`"):
            ways.choose_way()


class TestDemo:
    def run(self, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["demo.py", *words])
        monkeypatch.setattr(demo, "raise_on_signals", lambda: None)
        return demo.main()

    def test_from_nothing_to_an_answer(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(monkeypatch) == 0
        said = capfd.readouterr().out
        assert [line[:5] for line in said.splitlines() if line.startswith("[")] == [f"[{n}/5]" for n in range(1, 6)]
        assert "This demo runs in .venv (no container engine)." in said
        assert "  001.Circle   75.0%  " + "█" * 22 + "\n" in said
        assert "truth:   Stripes\n" in said
        assert "make serve MODEL=out/demo/model" in said
        with tarfile.open(root / "out/demo/model.tar.gz") as tar:
            assert tar.getnames() == ["labels.json"]

    def test_the_server_is_stopped_at_the_end(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        port = demo.free_port()
        monkeypatch.setattr(demo, "free_port", lambda: port)
        assert self.run(monkeypatch) == 0
        assert not demo.answers(f"http://127.0.0.1:{port}/ping")

    def test_the_users_pictures_get_the_products_defaults(
        self, root: Path, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.run(monkeypatch, "--data", str(data), "--hyperparameter", "epochs=2") == 0
        config = root / "out/demo/input/config/hyperparameters.json"
        assert json.loads(config.read_text()) == {"epochs": "2"}

    def test_a_failed_train_ends_it(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(monkeypatch, "--hyperparameter", "epochs=0") == 2
        assert "demo.py: `train` ended with exit code 3" in capfd.readouterr().err

    def test_a_server_that_dies_shows_the_end_of_its_log(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for split in ("train", "test"):
            (root / "data" / split / "broken").mkdir(parents=True)
            (root / "data" / split / "broken" / "1.png").write_bytes(png([b"\0\0\0"]))
        assert self.run(monkeypatch, "--data", "data") == 2
        said = capfd.readouterr().err
        assert "`serve` ended before it was ready" in said
        assert "the model cannot be loaded: it is broken" in said

    def test_a_refused_picture_is_said_with_the_servers_answer(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for split in ("train", "test"):
            (root / "data" / split / "cat").mkdir(parents=True)
            (root / "data" / split / "cat" / "1.gif").write_bytes(b"GIF89a")
        assert self.run(monkeypatch, "--data", "data") == 2
        assert "/invocations answered 415 to" in capfd.readouterr().err


class TestCheckDesk:
    def test_nothing_is_missing_where_these_tests_run(self) -> None:
        assert check_desk.problem() is None

    @pytest.mark.parametrize(
        ("where", "name", "answer", "sentence"),
        [
            (platform, "machine", "arm64", "for Linux x86_64 and this is Linux arm64; use the image"),
            (sys, "version_info", (3, 12, 1), "Python 3.11 is needed"),
            (importlib.util, "find_spec", None, "cannot make virtual environments"),
            (shutil, "which", None, "install a C compiler and Python's headers"),
            (sysconfig, "get_path", "/nowhere", "install a C compiler and Python's headers"),
        ],
    )
    def test_what_is_missing_is_named(
        self, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, answer: Any, sentence: str
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, (lambda *_: answer) if callable(getattr(where, name)) else answer)
            found = check_desk.problem()
        assert sentence in str(found)


class TestBuildAndPush:
    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        script = SCRIPTS.parent / "build_and_push.sh"
        environment = {**os.environ, **changes}
        return subprocess.run([script, *words], env=environment, capture_output=True, text=True, check=False)

    def test_help_lists_every_setting(self) -> None:
        done = self.run("--help")
        assert done.returncode == 0
        for name in ("IMAGE", "TAG", "REGION", "ACCOUNT", "PLATFORM", "BASE_IMAGE", "ENGINE", "--build-only"):
            assert f"\n  {name} " in done.stdout

    @pytest.mark.parametrize(
        ("words", "engine", "sentence"),
        [
            (["--frobnicate"], "none", "build_and_push: unknown option --frobnicate; see build_and_push.sh --help"),
            (["--build-only"], "none", "build_and_push: no container engine answers; start Docker, or name its client"),
            (["--build-only"], "/nowhere", "build_and_push: ENGINE=/nowhere does not answer; start Docker, or name"),
        ],
    )
    def test_a_users_error_is_one_sentence(self, words: list[str], engine: str, sentence: str) -> None:
        done = self.run(*words, ENGINE=engine)
        assert done.returncode != 0
        assert done.stderr.startswith(sentence)
        assert len(done.stderr.splitlines()) == 1
