"""Users' mistakes in serving: each ends the server with one sentence that says what was wrong."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import doors
from doors import needs_engine
from server import serving


@pytest.fixture
def model(trained: doors.Finished, tmp_path: Path) -> Path:
    """A copy of the trained model that may be spoilt."""
    return Path(shutil.copytree(trained.model, tmp_path / "model"))


def remove_all(model: Path) -> None:
    shutil.rmtree(model)
    model.mkdir()


def remove_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def truncate_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def remove_a_class(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["classes"].pop()
    (model / "config.json").write_text(json.dumps(config))


def remove_compiled(model: Path) -> None:
    for path in model.glob("compiled/*.bin"):
        path.unlink()


def spoil_config(model: Path) -> None:
    (model / "config.json").write_text("{")


def user_script(text: str) -> Callable[[Path], None]:
    def add(model: Path) -> None:
        (model / "code").mkdir()
        (model / "code/inference.py").write_text(text)

    return add


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove_all, ("No model in", "found: nothing", "unpack model.tar.gz")),
        (remove_weights, ("model.safetensors", "not exist")),
        (truncate_weights, ("model.safetensors", "damaged")),
        (remove_a_class, ("do not fit resnet18 with 5 classes",)),
        (remove_compiled, ("The compiled network", "cannot be loaded", "CLASSIFIER_ENGINE=eager")),
        (spoil_config, ("config.json", "cannot be loaded")),
        (user_script("def model_fn(d):\n    raise ValueError('no such tokenizer')"), ("no such tokenizer",)),
        (user_script("import not_installed_anywhere"), ("not_installed_anywhere",)),
    ],
)
def test_serve_refuses_a_model(
    spoil: Callable[[Path], None], says: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    spoil(model)
    with serving(model, tmp_path / "serve.log") as server:
        assert server.wait() in (1, 2), server.log
    last = server.log.rstrip().splitlines()[-1]
    for words in says:
        assert words in last, server.log
    by_the_script = (model / "code").exists()
    assert ("Traceback" in server.log) is by_the_script, server.log


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "70000"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0"),
        ("CLASSIFIER_TOP_K", "-1"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html"),
    ],
)
def test_serve_refuses_an_environment_variable(name: str, value: str, model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "serve.log", environment={name: value}) as server:
        assert server.wait() == 1, server.log
    assert f"Environment variable {name}='{value}' cannot be used" in server.log
    assert "Traceback" not in server.log


def test_serve_says_that_its_port_is_taken(model: Path, tmp_path: Path) -> None:
    if doors.ENGINE:
        words = ("bash", "-c", "python -m http.server 8080 >/dev/null 2>&1 & sleep 2; exec serve")
        with serving(model, tmp_path / "serve.log", words=words) as server:
            code, port = server.wait(), 8080
    else:
        with socket.create_server(("0.0.0.0", 0)) as taken:
            port = taken.getsockname()[1]
            environment = {"SAGEMAKER_BIND_TO_PORT": str(port)}
            with serving(model, tmp_path / "serve.log", environment=environment) as server:
                code = server.wait()
    assert code == 3, server.log
    assert f"Port {port} cannot be opened" in server.log
    assert "Traceback" not in server.log


@needs_engine
def test_serve_says_that_it_can_write_nowhere(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "serve.log", ("--read-only",)) as server:
        assert server.wait() == 3, server.log
    (line,) = server.log.splitlines()
    assert line.endswith("; give the server a /tmp that it may write to, with free space."), server.log
