"""Many models in one container: the calls SageMaker makes to a multi-model endpoint, in order."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import described
import doors
from server import Answer, Server, serving

MODELS = "/opt/ml/model" if doors.ENGINE else None  # where the container sees the folder of models


@pytest.fixture(scope="module")
def store(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models: a good one, and one whose configuration is broken."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copytree(trained.model, folder / "good")
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with serving(store, log, environment={"SAGEMAKER_MULTI_MODEL": "true"}) as started:
        yield started.wait_until_ready()


def load(server: Server, store: Path, name: str, folder: str) -> Answer:
    body = json.dumps({"model_name": name, "url": f"{MODELS or store}/{folder}"})
    return server.ask("POST", "/models", body, {"Content-Type": "application/json"})


def test_the_life_of_a_model(server: Server, store: Path, pictures: Path) -> None:
    name = "team a/dogs.tar.gz"  # a path in S3, as SageMaker passes it
    path = f"/models/{quote(name, safe='')}"
    picture = next((pictures / "test").rglob("*.png")).read_bytes()

    assert server.ask("GET", "/models").json == {"models": []}
    assert server.invoke(picture, path=f"{path}/invoke").status == 404
    assert load(server, store, name, "good").status == 200
    assert load(server, store, name, "good").status == 409
    assert load(server, store, "another", "nowhere").status == 404
    assert server.ask("GET", path).json["modelName"] == name
    assert [model["modelName"] for model in server.ask("GET", "/models").json["models"]] == [name]
    assert len(server.invoke(picture, path=f"{path}/invoke").json["topk_labels"]) == 5
    assert server.invoke(picture + bytes(5 << 20), path=f"{path}/invoke").status == 200  # goes by a file
    assert server.invoke(b"no picture", path=f"{path}/invoke").status == 400
    assert server.ask("DELETE", path).status == 200
    assert server.ask("DELETE", path).status == 404
    assert server.ask("GET", path).status == 404


def test_a_broken_model_is_an_error_with_the_reason_and_harms_no_other(
    server: Server, store: Path, pictures: Path
) -> None:
    picture = next((pictures / "test").rglob("*.png")).read_bytes()
    assert load(server, store, "kept", "good").status == 200
    answer = load(server, store, "broken", "broken")
    assert (answer.status, answer.json["code"]) == (500, "model_not_loaded")
    assert "config.json" in answer.json["message"]
    assert "Traceback" not in answer.body.decode()
    assert server.ask("GET", "/models/broken").status == 404
    assert server.invoke(picture, path="/models/kept/invoke").status == 200


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"model_name": "", "url": "/"}', '{"model_name": 1, "url": 2}'])
def test_a_malformed_load_is_400(server: Server, body: str) -> None:
    answer = server.ask("POST", "/models", body, {"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (400, "bad_request")


def test_the_calls_of_the_other_mode_are_not_there(server: Server) -> None:
    assert server.invoke(b"x").status == 404


def test_the_description_is_true_to_what_is_served(server: Server, tmp_path: Path) -> None:
    assert {"/models", "/models/{name}", "/models/{name}/invoke"} <= described.paths(server)
    described.check(server, tmp_path)
    assert server.ping() == 200
