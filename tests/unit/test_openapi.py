"""The description at /openapi.json: of every route that a door has, and of no other."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import answers, formats, openapi, sizing
from image_classifier.serving.answers import Outcome, Prediction
from image_classifier.serving.formats import Options, Output
from image_classifier.serving.front_door import Door
from image_classifier.serving.multi_model import MultiModelDoor
from image_classifier.serving.single_model import SingleModelDoor

LABELS = ("amber", "blue")
GOOD, BAD = Prediction([1.0, 2.0], [0.25, 0.75]), RequestError(400, "bad_image", "No.")


def application(door: type[Door], **environ: str) -> web.Application:
    settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environ})
    sizes = sizing.compute(settings, Path("nowhere"))
    server = SimpleNamespace(sizing=sizes)  # the real one would start Java
    return door(settings, server).application()  # type: ignore[arg-type]


def described(app: web.Application) -> Any:
    """What the route answers."""
    (resource,) = (each for each in app.router.resources() if each.canonical == openapi.PATH)
    (route,) = (each for each in resource if each.method == "GET")
    answer = asyncio.run(route.handler(None))  # type: ignore[arg-type]
    assert isinstance(answer, web.Response)
    return json.loads(answer.text or "")


@pytest.mark.parametrize(
    ("door", "environ"),
    [
        (SingleModelDoor, {}),
        (SingleModelDoor, {"CLASSIFIER_PAGE": "true"}),
        (MultiModelDoor, {"SAGEMAKER_MULTI_MODEL": "true"}),
    ],
)
def test_every_route_is_described_and_nothing_else(door: type[Door], environ: dict[str, str]) -> None:
    app = application(door, **environ)
    served = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }
    paths = described(app)["paths"]
    methods = {(path, method) for path, item in paths.items() for method in item if method != "parameters"}
    assert methods == served


def test_the_limits_are_those_of_the_settings() -> None:
    app = application(
        SingleModelDoor, CLASSIFIER_MAX_RECORDS="7", SAGEMAKER_MAX_PAYLOAD_IN_MB="9", CLASSIFIER_TOP_K="3"
    )
    operation = described(app)["paths"]["/invocations"]["post"]
    assert operation["description"] == "At most 7 pictures in 9 MiB."
    assert operation["parameters"][0]["schema"]["default"] == 3
    assert list(operation["requestBody"]["content"]) == list(formats.ACCEPTED)
    assert list(operation["responses"]["200"]["content"]) == list(Output)


def test_with_a_users_script_none_of_our_formats_is_promised(tmp_path: Path) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").touch()
    operation = described(application(SingleModelDoor, SAGEMAKER_BASE_DIR=str(tmp_path)))["paths"]["/invocations"]
    asked = operation["post"]
    assert asked["requestBody"] == {"content": {"*/*": {}}}
    assert [each["name"] for each in asked["parameters"]] == ["X-Amzn-SageMaker-Custom-Attributes"]
    assert asked["responses"]["200"]["content"] == asked["responses"]["default"]["content"] == {"*/*": {}}


def schema(name: str) -> jsonschema_rs.Validator:
    document = {**openapi.document({}), "$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.validator_for(document)


@pytest.mark.parametrize("output", [Output.JSON, Output.VERBOSE])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("outcomes", "name"), [([GOOD], "Answer"), ([GOOD, BAD], "Answers")])
def test_answers_are_as_described(output: Output, full: bool, outcomes: list[Outcome], name: str) -> None:
    text = answers.write(outcomes, name == "Answers", LABELS, Options(output=output, full=full))
    schema(name).validate(json.loads(text))


def test_errors_are_as_described() -> None:
    errors = answers.NoneAnswered([BAD, BAD]).errors
    schema("Error").validate(json.loads(formats.encode_error("bad_image", "No.", "id")))
    schema("Error").validate(json.loads(formats.encode_error("bad_image", "No.", "id", errors=errors)))


@pytest.mark.parametrize("body", [{"instances": ["QQ=="]}, {"inputs": [{"b64": "QQ=="}]}, {"inputs": "QQ=="}])
def test_bodies_are_as_described(body: Any) -> None:
    schema("Pictures").validate(body)


@pytest.mark.parametrize("body", [[], {}, {"instances": []}, {"inputs": 1}, {"url": "http://x"}, "QQ=="])
def test_what_is_refused_is_not_described(body: Any) -> None:
    assert not schema("Pictures").is_valid(body)
