"""Requests against botocore's model of the service: what passes here has the form that AWS accepts.

botocore's own validator looks at types, required members and lower limits only; AWS refuses more.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import regex
from botocore.model import ServiceModel, Shape
from werkzeug.datastructures import Headers

from local_sagemaker.errors import ApiError, invalid

_RUNTIME = "sagemaker-runtime"
_SIZED = {"string", "list", "map", "blob"}
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}


@cache
def service(name: str = "sagemaker") -> ServiceModel:
    """The model that boto3 itself works by."""
    return botocore.session.get_session().get_service_model(name)


def check(operation: str, request: Any, of: str = "sagemaker") -> None:
    """Raise ApiError with every place where a request to a service breaks its model."""
    shape = service(of).operation_model(operation).input_shape
    problems = list(_problems(shape, request, "")) if shape else []
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
        raise invalid(count + "; ".join(problems))


def check_headers(operation: str, endpoint: str, headers: Mapping[str, str] | Headers) -> None:
    """Raise ApiError with every header of a request to the runtime that breaks its model; bodies are not looked at."""
    members = service(_RUNTIME).operation_model(operation).input_shape.members
    given = {name: headers.get(shape.serialization.get("name", ""), "") for name, shape in members.items()}
    numbers = {name for name, shape in members.items() if shape.type_name == "integer"}
    content = {
        name: int(text) if name in numbers and text.isdecimal() else text for name, text in given.items() if text
    }
    try:
        check(operation, {**content, "EndpointName": endpoint, "Body": b""}, _RUNTIME)
    except ApiError as error:
        raise ApiError("ValidationError", error.message) from None


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    where = f"Value {str(value)[:80]!r} at '{path or 'request'}' failed to satisfy constraint: "
    kind = _PYTHON.get(shape.type_name)
    if kind and (not isinstance(value, kind) or (isinstance(value, bool) and shape.type_name != "boolean")):
        yield f"{where}Member must be a {shape.type_name}"
        return
    yield from (where + problem for problem in _limits(shape, value))
    if shape.type_name in _INSIDE:
        yield from _INSIDE[shape.type_name](shape, value, path)


def _limits(shape: Shape, value: Any) -> Iterator[str]:
    limits, sized = shape.metadata, shape.type_name in _SIZED
    measure = len(value) if sized else value
    noun = "have length" if sized else "have value"
    if "min" in limits and measure < limits["min"]:
        yield f"Member must {noun} greater than or equal to {limits['min']}"
    if "max" in limits and measure > limits["max"]:
        yield f"Member must {noun} less than or equal to {limits['max']}"
    if "enum" in limits and value not in limits["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
    if "pattern" in limits and not _matches(limits["pattern"], value):
        yield f"Member must satisfy regular expression pattern: {limits['pattern']}"


@cache
def _compiled(pattern: str) -> Any:
    """None for the few patterns of the model that are no regular expression in any dialect."""
    try:
        return regex.compile(pattern, regex.DOTALL)
    except regex.error:
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or bool(compiled.fullmatch(value))


def _inside_structure(shape: Any, value: Any, path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name not in shape.members:
            yield f"Unknown parameter '{_below(path, name)}'; it must be one of {', '.join(shape.members)}"
        elif member is not None:
            yield from _problems(shape.members[name], member, _below(path, name))


def _inside_list(shape: Any, value: Any, path: str) -> Iterator[str]:
    for number, member in enumerate(value, 1):
        yield from _problems(shape.member, member, f"{path}.{number}.member")


def _inside_map(shape: Any, value: Any, path: str) -> Iterator[str]:
    for name, member in value.items():
        yield from _problems(shape.key, name, f"{path}.key")
        yield from _problems(shape.value, member, _below(path, name))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_INSIDE: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _inside_structure,
    "list": _inside_list,
    "map": _inside_map,
}
