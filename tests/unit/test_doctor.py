"""The command `doctor` and its checks, on this host, with this virtual environment, on a model trained here."""

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from image_classifier import machine
from image_classifier.contract import Layout, Settings
from image_classifier.doctor import checks_host, checks_image, checks_model, cli, report
from image_classifier.doctor.report import Finding, Report, Status, ok, problem, warning
from image_classifier.errors import PlatformError, UserError
from image_classifier.serving import handler

Model = Callable[..., Path]
AS_IN_THE_IMAGE = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "SAGEMAKER_TRAINING_MODULE": "image_classifier.training.entrypoint:main",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
}


@pytest.fixture
def model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a model directory that can be broken."""
    monkeypatch.setattr(handler, "_service", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    modules = dict(sys.modules)
    yield Path(shutil.copytree(trained / "model", tmp_path / "model"))
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def look(folder: Path) -> tuple[Finding, ...]:
    return report.examine_until_problem(checks_model.checks(folder, Settings.from_environment({})))


class TestReport:
    def test_a_check_that_fails_is_a_finding_and_keeps_no_other_from_running(self) -> None:
        def fails(error: Exception) -> Finding:
            raise error

        found = report.examine(
            [
                lambda: fails(UserError("Mend it.")),
                lambda: fails(PlatformError("Full.")),
                lambda: fails(ValueError("odd")),
                lambda: None,
                lambda: ok("fine"),
            ]
        )
        assert [finding.what for finding in found] == [
            "Mend it.",
            "Full.",
            "This could not be checked: ValueError: odd",
            "fine",
        ]
        assert [finding.status for finding in found] == [*[Status.PROBLEM] * 3, Status.OK]

    def test_the_worst_finding_is_the_status(self) -> None:
        assert Report({}).status is Status.OK
        assert Report({"host": (ok("a"), warning("b", "c"))}).status is Status.WARNING
        assert Report({"host": (problem("a"),), "image": (warning("b", "c"),)}).status is Status.PROBLEM

    def test_text_has_a_line_for_each_finding_and_its_remedy_below(self) -> None:
        made = Report({"host": (ok("cores"), warning("little", "give more"))}).text()
        assert "  ok       cores\n" in made.replace("\x1b[32m", "").replace("\x1b[0m", "")
        assert "little\n           -> give more\n" in made
        assert made.endswith("\n1 ok, 1 warning(s), 0 problem(s)")


class TestHost:
    def test_a_bad_variable_is_a_problem_with_settings_own_sentence(self) -> None:
        with pytest.raises(UserError, match="SAGEMAKER_BIND_TO_PORT='no'"):
            checks_host.environment({"SAGEMAKER_BIND_TO_PORT": "no"})
        assert checks_host.environment({"CLASSIFIER_TOP_K": "3"}).what == "environment: CLASSIFIER_TOP_K=3"

    @pytest.mark.parametrize(("memory", "status"), [(1 << 30, Status.WARNING), (8 << 30, Status.OK)])
    def test_memory_is_the_cgroups(self, monkeypatch: pytest.MonkeyPatch, memory: int, status: Status) -> None:
        monkeypatch.setattr(machine, "memory_limit", lambda: memory)
        found = checks_host.cores_and_memory()
        assert found.status is status
        assert f"{memory >> 30}.0 GiB memory" in found.what

    def test_scratch_that_cannot_be_written_is_a_problem(self, tmp_path: Path) -> None:
        assert checks_host.scratch(tmp_path).status is Status.OK
        found = checks_host.scratch(tmp_path / "missing")
        assert found.status is Status.PROBLEM
        assert "No such file or directory" in found.what

    def test_a_job_whose_results_cannot_be_written_is_a_problem(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layout = Layout(tmp_path)
        assert checks_host.job_directory(layout) is None, "no job is laid out here"
        layout.config.mkdir(parents=True)
        found = checks_host.job_directory(layout)
        assert found
        assert found.status is Status.OK
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
        found = checks_host.job_directory(layout)
        assert found
        assert found.status is Status.PROBLEM
        assert "docker run --user" in found.remedy

    def test_little_room_is_a_warning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2 << 30, 0, 100 << 20))
        assert checks_host.scratch(tmp_path).what.endswith("writable, 100 MiB free")
        assert checks_host.scratch(tmp_path).status is Status.WARNING
        assert checks_host.shared_memory(tmp_path).status is Status.OK


class TestImage:
    def test_nothing_is_wrong_with_the_packages_these_tests_run_with(self) -> None:
        checks = (checks_image.packages, checks_image.packages_fit, checks_image.java)
        assert [check().status for check in checks] == [Status.OK] * 3
        assert "smdebug 1.0.34, protobuf 3.20.3" in checks_image.packages().what

    def test_a_door_that_is_not_on_path_is_a_problem(self, tmp_path: Path) -> None:
        for name in ("train", "serve", "doctor"):
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        assert checks_image.doors(str(tmp_path)).status is Status.OK
        (tmp_path / "serve").unlink()
        assert checks_image.doors(str(tmp_path)).what == "not on PATH: serve"

    @pytest.mark.parametrize(
        ("change", "status", "words"),
        [
            ({}, Status.OK, "runs this image's own program"),
            ({"SAGEMAKER_TRAINING_MODULE": ""}, Status.PROBLEM, "would run nothing"),
            ({"SAGEMAKER_TRAINING_MODULE": "other:main"}, Status.PROBLEM, "would run other:main"),
            ({"SAGEMAKER_PROGRAM": "a.py"}, Status.WARNING, "SAGEMAKER_PROGRAM=a.py is set"),
        ],
    )
    def test_what_train_runs(self, change: dict[str, str], status: Status, words: str) -> None:
        found = checks_image.training_program({**AS_IN_THE_IMAGE, **change})
        assert found.status is status
        assert words in found.what

    def test_baked_code_is_a_warning(self, tmp_path: Path) -> None:
        (tmp_path / "code").mkdir()
        assert checks_image.baked_code(Layout(tmp_path)) is None
        (tmp_path / "code" / "train.py").touch()
        found = checks_image.baked_code(Layout(tmp_path))
        assert found
        assert found.status is Status.WARNING

    def test_packages_that_do_not_fit_are_named_with_what_they_need(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "wants_much-1.0.dist-info"
        folder.mkdir()
        needs = ("numpy>99", "no-such-package", "torch", 'other; extra == "more"', 'other; python_version < "3"')
        lines = [
            "Metadata-Version: 2.1",
            "Name: wants-much",
            "Version: 1.0",
            *(f"Requires-Dist: {each}" for each in needs),
        ]
        (folder / "METADATA").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        found = checks_image.packages_fit()
        assert found.status is Status.PROBLEM
        numpy = importlib.metadata.version("numpy")
        assert found.what == (
            f"packages that do not fit: wants-much needs numpy>99, here is {numpy}; "
            "wants-much needs no-such-package, here is none"
        )

    def test_a_package_that_does_not_load_is_a_problem_with_the_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "broken_package.py").write_text(
            "import warnings\nwarnings.warn('w')\nraise OSError('no library')\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(checks_image, "IMPORTS", ("broken_package",))
        found = checks_image.imports(AS_IN_THE_IMAGE)
        assert found.what == "broken_package cannot be imported (OSError: no library)"
        assert found.remedy == checks_image.REBUILD
        assert "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python" in checks_image.imports({}).remedy

    def test_baked_weights_are_listed(self, tmp_path: Path) -> None:
        (tmp_path / ".gitkeep").touch()
        assert "no pretrained weights" in checks_image.baked_weights(tmp_path).what
        (tmp_path / "resnet18.pth").touch()
        assert checks_image.baked_weights(tmp_path).what.endswith(": resnet18.pth")


class TestModel:
    def test_a_good_model_answers_a_generated_picture(self, model: Path) -> None:
        files, content, memory, prediction = look(model)
        assert {each.status for each in (files, content, memory, prediction)} == {Status.OK}
        assert "9 file(s)" in files.what
        assert content.what.startswith("shufflenet_v2_x0_5, 3 classes, 32 pixels, test accuracy ")
        assert memory.what.startswith("Workers: ")
        assert prediction.what.split(": ")[1].split(",")[0] in ("amber", "blue", "dark grey")

    def test_a_broken_artifact_gives_the_artifacts_own_sentence_and_nothing_after_it(self, model: Path) -> None:
        (model / "model.safetensors").write_bytes(b"damaged")
        *good, bad = look(model)
        assert [each.status for each in good] == [Status.OK] * 3
        assert bad.status is Status.PROBLEM
        assert bad.what.startswith(f"The weights {model / 'model.safetensors'} are damaged")

    def test_weights_of_another_network_are_a_problem(self, model: Path) -> None:
        weights = load_file(model / "model.safetensors")
        save_file({**weights, "fc.bias": weights["fc.bias"][:2].clone()}, model / "model.safetensors")
        assert "do not fit shufflenet_v2_x0_5 with 3 classes" in look(model)[-1].what

    def test_a_directory_without_a_model_says_what_was_found(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        assert f"No model in {tmp_path} (found: notes.txt)" in look(tmp_path)[-1].what

    @pytest.mark.parametrize("name", ["missing", "model.tar.gz"])
    def test_what_is_no_directory_is_a_problem_with_the_remedy(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "model.tar.gz").touch()
        (found,) = look(tmp_path / name)
        assert found.status is Status.PROBLEM
        assert ("tar -xzf" if name == "model.tar.gz" else "docker run -v") in found.remedy

    def test_another_torch_is_a_warning(self, model: Path) -> None:
        config = json.loads((model / "config.json").read_text())
        config["versions"]["torch"] = "1.13.1"
        (model / "config.json").write_text(json.dumps(config))
        assert "made with torch 1.13.1, here is 2." in look(model)[1].what
        assert look(model)[1].status is Status.WARNING

    def test_too_little_memory_for_the_workers_that_are_asked_for_is_a_warning(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "memory_limit", lambda: 8 << 30)
        settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "256"})
        assert checks_model.memory(model, settings).status is Status.WARNING

    @pytest.mark.parametrize(
        ("script", "status", "words"),
        [
            ("def model_fn(d): return 1\ndef predict_fn(x, m): return {'said': m}\n", Status.OK, '{"said": 1}'),
            ("def model_fn(d): raise OSError('no weights')\n", Status.PROBLEM, "OSError: no weights"),
            ("print('loaded')\ndef predict_fn(x, m): raise KeyError('size')\n", Status.PROBLEM, "KeyError: 'size'"),
        ],
    )
    def test_a_users_own_script_is_asked_too(
        self,
        model: Path,
        script: str,
        status: Status,
        words: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
        (model / "code").mkdir()
        (model / "code" / "inference.py").write_text(script)
        found = look(model)[-1]
        assert found.status is status
        assert words in found.what
        assert "Traceback" not in "".join(capsys.readouterr())


class TestCommand:
    def run(self, *words: str, **environ: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, words, env={**AS_IN_THE_IMAGE, **environ})
        return result.exit_code, result.output

    def test_one_part_as_json(self) -> None:
        code, output = self.run("host", "--json")
        told = json.loads(output)
        assert code == 0
        assert list(told["parts"]) == ["host"]
        assert {"status", "what", "remedy"} == set(told["parts"]["host"][0])

    def test_a_problem_is_exit_code_1(self, tmp_path: Path) -> None:
        code, output = self.run("model", str(tmp_path / "missing"))
        assert code == 1
        assert "1 problem(s)" in output

    def test_a_bad_environment_is_reported_not_died_of(self) -> None:
        code, output = self.run("host", SAGEMAKER_BIND_TO_PORT="no")
        assert code == 1
        assert "Environment variable SAGEMAKER_BIND_TO_PORT='no' cannot be used" in output

    def test_a_model_that_is_asked_for_must_be_there(self, tmp_path: Path) -> None:
        assert self.run("model", SAGEMAKER_BASE_DIR=str(tmp_path))[0] == 1
        settings = Settings.from_environment({})
        (found,) = cli._look_at_model(tmp_path / "model", settings, asked=False)
        assert found.status is Status.OK

    @pytest.mark.parametrize("words", [("host", "x"), ("patient",), ("--frob",)])
    def test_a_wrong_command_line_is_exit_code_2(self, words: tuple[str, ...]) -> None:
        assert self.run(*words)[0] == 2
