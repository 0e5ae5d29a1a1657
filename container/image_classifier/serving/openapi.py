"""The OpenAPI description of what this server answers, at `/openapi.json`.

Only the routes that a door has are described, so it is true of every mode.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

import image_classifier
from image_classifier.contract import Settings
from image_classifier.serving import formats
from image_classifier.serving.formats import Body, Output

PATH = "/openapi.json"
Json = dict[str, Any]

_REASONS = {
    400: "The body, a picture in it or an option cannot be used.",
    404: "There is no such model, or no such directory to load it from.",
    406: "The Accept header cannot be met.",
    408: "The body stopped coming.",
    409: "The model is loaded already.",
    413: "The body, the number of pictures or the answer is beyond the limit.",
    415: "The Content-Type is not accepted.",
    500: "The request failed inside; the log says why.",
    503: "Loading, no worker, too busy or shutting down; try again.",
    504: "No answer in time.",
    507: "Out of memory.",
}


def add_routes(router: web.UrlDispatcher, settings: Settings, own_formats: Callable[[], bool]) -> None:
    """Serve the description of all that the router serves by then; own_formats is asked each time."""
    served = {resource.canonical for resource in router.resources()} | {PATH}

    async def describe(request: web.Request) -> web.Response:
        del request
        paths = _paths(settings, own_formats())
        return web.json_response(document({path: paths[path] for path in paths if path in served}))

    router.add_get(PATH, describe)


def document(paths: Json) -> Json:
    """The whole description, of some paths."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image classifier",
            "version": image_classifier.__version__,
            "description": "Pictures in, labels with probabilities out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, optional: Json | None = None, **more: Any) -> Json:
    return {"type": "object", "required": list(properties), "properties": {**properties, **(optional or {})}, **more}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


_ATTRIBUTES: Json = {
    "name": "X-Amzn-SageMaker-Custom-Attributes",
    "in": "header",
    "schema": {"type": "string", "maxLength": 1024},
}
_TEXT: Json = {"type": "string"}
_NAME: Json = {"type": "string", "minLength": 1}
_PROBABILITY: Json = {"type": "number", "minimum": 0, "maximum": 1}
_BASE64: Json = {"type": "string", "format": "byte", "contentEncoding": "base64", "description": "An encoded picture."}
_ERROR: Json = {"code": _TEXT, "message": _TEXT}
_PLACE: Json = _object({**_ERROR, "index": {"type": "integer", "minimum": 0}})
_SCHEMAS: Json = {
    "Error": _object({**_ERROR, "request_id": _TEXT}, {"errors": _list(_PLACE)}, additionalProperties=False),
    "Picture": {"oneOf": [_BASE64, _object({"b64": _BASE64})]},
    "Pictures": {
        "description": "Base64 in JSON; one picture is answered with an object, a list with a list.",
        "anyOf": [
            _object({"instances": _list(_ref("Picture"), minItems=1)}),
            _object({"inputs": _list(_ref("Picture"), minItems=1)}),
            _object({"inputs": _ref("Picture")}),
            _object({"b64": _BASE64}),
        ],
    },
    "Answer": _object(
        {
            "topk_indices": _list({"type": "integer", "minimum": 0}),
            "topk_labels": _list(_TEXT),
            "topk_probs": _list(_PROBABILITY),
        },
        {
            "predicted_label": _TEXT,
            "labels": _list(_TEXT),
            "probabilities": _list(_PROBABILITY),
            "logits": _list({"type": "number"}),
        },
        additionalProperties=False,
    ),
    "Failed": _object({"error": _PLACE}, additionalProperties=False),
    "Answers": _object({"predictions": _list({"oneOf": [_ref("Answer"), _ref("Failed")]})}, additionalProperties=False),
    "Model": _object({"modelName": _TEXT, "modelUrl": _TEXT}),
}


def _paths(settings: Settings, own_formats: bool) -> Json:
    """All paths of all modes."""
    name = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    invoke = {"post": _invocation(settings) if own_formats else _scripted(settings)}
    return {
        "/": {"get": _operation("A page for people", {200: _content("The page.", "text/html", _TEXT)})},
        PATH: {"get": _operation("This description", {200: _content("OpenAPI.", "application/json", {})})},
        "/ping": {"get": _operation("Readiness", {200: {"description": "A picture would be answered now."}}, 503)},
        "/invocations": invoke,
        "/execution-parameters": {"get": _operation("For batch transform", {200: _json("Settings.", _object({}))})},
        "/metrics": {"get": _operation("For Prometheus", {200: _content("Metrics.", "text/plain", _TEXT)})},
        "/models": {
            "get": _operation("Loaded models", {200: _json("Models.", _object({"models": _list(_ref("Model"))}))}),
            "post": _operation("Load a model", {200: _json("Loaded.", _object({}))}, 400, 404, 409, 500, 503, 507)
            | {"requestBody": _json("Which.", _object({"model_name": _NAME, "url": _NAME})) | {"required": True}},
        },
        "/models/{name}": {
            "parameters": [name],
            "get": _operation("One model", {200: _json("The model.", _ref("Model"))}, 404),
            "delete": _operation("Unload a model", {200: _json("Unloaded.", _object({}))}, 404),
        },
        "/models/{name}/invoke": {"parameters": [name], **invoke},
    }


def _invocation(settings: Settings) -> Json:
    answers = {200: {"description": "The labels.", "content": {kind: {"schema": _answer(kind)} for kind in Output}}}
    return _operation("Classify pictures", answers, 400, 404, 406, 408, 413, 415, 500, 503, 504, 507) | {
        "description": f"At most {settings.max_records} pictures in {settings.max_payload_mb} MiB.",
        "parameters": _parameters(settings),
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": _body(body)} for kind, body in formats.ACCEPTED.items()},
        },
    }


def _scripted(settings: Settings) -> Json:
    """What is certain where a user's script decides: any body, any answer, any status."""
    any_content: Json = {"content": {"*/*": {}}}
    operation = _operation("Ask the model's own script", {200: {"description": "Its answer.", **any_content}}, 413)
    operation["responses"]["default"] = {"description": "Its own status, or an error of the server's.", **any_content}
    return operation | {
        "description": f"At most {settings.max_payload_mb} MiB, in the formats of the script.",
        "parameters": [_ATTRIBUTES],
        "requestBody": any_content,
    }


def _parameters(settings: Settings) -> list[Json]:
    top_k = {"type": "integer", "minimum": 1, "maximum": formats.MAX_TOP_K, "default": settings.top_k}
    described = {
        "top_k": (top_k, "Labels in an answer, at most."),
        "threshold": (_PROBABILITY | {"default": 0}, "Labels less probable than this are left out."),
        "full": ({"type": "boolean", "default": False}, "Give the probabilities of all labels too."),
    }
    query = [{"name": n, "in": "query", "schema": s, "description": d} for n, (s, d) in described.items()]
    same = {"description": "The same options where there is no query: `top_k=3,threshold=0.5,full=true`."}
    return [*query, _ATTRIBUTES | same]


def _body(body: Body) -> Json:
    match body:
        case Body.PICTURE:
            return {"type": "string", "format": "binary"}
        case Body.JSON:
            return _ref("Pictures")
        case Body.LINES:
            return {"type": "string", "description": 'A JSON value a line: {"b64": "…"} or "…".'}
        case Body.MULTIPART:
            return _object({"image": _list({"type": "string", "format": "binary"}, minItems=1)})


def _answer(output: Output) -> Json:
    match output:
        case Output.JSON | Output.VERBOSE:
            return {"oneOf": [_ref("Answer"), _ref("Answers")]}
        case Output.LINES:
            return {"type": "string", "description": "An answer or a failure a line, in the order of the pictures."}
        case Output.CSV | Output.CSV_HEADER:
            return {"type": "string", "description": "A row a picture: label and probability by turns, then the error."}


def _operation(summary: str, answers: Mapping[int, Json], *errors: int) -> Json:
    responses = {**answers, **{status: _json(_REASONS[status], _ref("Error")) for status in errors}}
    return {"summary": summary, "responses": {str(status): answer for status, answer in sorted(responses.items())}}


def _json(description: str, schema: Json) -> Json:
    return _content(description, "application/json", schema)


def _content(description: str, kind: str, schema: Json) -> Json:
    return {"description": description, "content": {kind: {"schema": schema}}}
