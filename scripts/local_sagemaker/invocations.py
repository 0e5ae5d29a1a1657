"""InvokeEndpoint and InvokeEndpointAsync: POST /endpoints/NAME/invocations and /async-invocations."""

import http.client
import json
import re
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from werkzeug.wrappers import Request, Response

from local_sagemaker import validation
from local_sagemaker.aws import Objects, Uri, put_metric
from local_sagemaker.capture import capture
from local_sagemaker.endpoints import Endpoints
from local_sagemaker.errors import ApiError, invalid
from local_sagemaker.store import Record
from local_sagemaker.variant import Answer, Variant, model_error

PREFIX = "/endpoints/"
_PATH = re.compile(r"/endpoints/(?P<name>[^/]+)/(?P<kind>invocations|async-invocations)")
# Of a request and of an answer, in bytes; the runtime's model says the same.
LIMIT, SERVERLESS_LIMIT = 6_291_456, 4_194_304
_METRICS = "AWS/SageMaker"
_SECONDS, _ASYNC_SECONDS = 60, 900
_TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
_CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"
# What reaches the container; SageMaker strips all other headers.
_FORWARDED = ("Content-Type", "Accept", _CUSTOM, "X-Amzn-SageMaker-Inference-Id", "X-Amzn-SageMaker-Session-Id")


class Invocations:
    """Passes requests on to the machine that answers them."""

    def __init__(self, endpoints: Endpoints, objects: Objects) -> None:
        self._endpoints, self._objects = endpoints, objects
        self._waiting = ThreadPoolExecutor(max_workers=4)

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        found = _PATH.fullmatch(request.path)
        if not found or request.method != "POST":
            raise ApiError(
                "UnknownOperationException", f"{request.method} {request.path} is no request to an endpoint."
            )
        now = found["kind"] == "invocations"
        operation = "InvokeEndpoint" if now else "InvokeEndpointAsync"
        validation.check_headers(operation, found["name"], request.headers)
        if now:
            return self._now(found["name"], request)
        return self._later(found["name"], request)

    def _now(self, name: str, request: Request) -> Response:
        body = request.get_data()
        wanted = request.headers.get("X-Amzn-SageMaker-Target-Variant", "")
        target = request.headers.get(_TARGET_MODEL, "")
        if self._endpoints.config(name).get("AsyncInferenceConfig"):
            raise ApiError(
                "ValidationError",
                f"Endpoint {name} does not support this inference type: it is asynchronous; call InvokeEndpointAsync.",
            )
        with self._endpoints.variant(name, wanted) as variant:
            limit = SERVERLESS_LIMIT if variant.serverless else LIMIT
            if len(body) > limit:
                raise ApiError(
                    "ValidationError", f"The request has {len(body)} bytes; an endpoint takes {limit} at most."
                )
            if variant.many != bool(target):
                raise invalid("TargetModel must be given to a multi-model endpoint, and to no other.")
            headers = _headers(request)
            answer = _ask(variant, body, headers, _SECONDS, target)
            self._note(name, variant, (headers["Content-Type"], body), answer)
            return _response(answer, variant)

    def _note(self, name: str, variant: Variant, asked: tuple[str, bytes], answer: Answer) -> None:
        """Metrics, and what data capture keeps."""
        endpoint = {"EndpointName": name, "VariantName": variant.name}
        region = self._endpoints.region(name)
        put_metric(region, _METRICS, endpoint, "Invocations", 1)
        for number in (4, 5):
            put_metric(region, _METRICS, endpoint, f"Invocation{number}XXErrors", answer.status // 100 == number)
        if config := self._endpoints.config(name).get("DataCaptureConfig"):
            capture(self._objects, config, variant, asked, answer)

    def _later(self, name: str, request: Request) -> Response:
        config = self._endpoints.config(name).get("AsyncInferenceConfig")
        if not config:
            raise ApiError(
                "ValidationError", f"Endpoint {name} is not asynchronous; its configuration says nothing of it."
            )
        source = Uri.parse(request.headers.get("X-Amzn-SageMaker-InputLocation", ""))
        number = request.headers.get("X-Amzn-SageMaker-Inference-Id") or str(uuid.uuid4())
        output = config["OutputConfig"]
        place = Uri.parse(output["S3OutputPath"]).below(f"{number}.out")
        failures = output.get("S3FailurePath")
        failure = (Uri.parse(failures) if failures else Uri.parse(output["S3OutputPath"])).below(f"{number}-error.out")
        self._waiting.submit(self._work, name, source, place, failure, _headers(request, "X-Amzn-SageMaker-"))
        headers = {"X-Amzn-SageMaker-OutputLocation": str(place), "X-Amzn-SageMaker-FailureLocation": str(failure)}
        return Response(json.dumps({"InferenceId": number}), 202, headers, content_type="application/json")

    def _work(self, name: str, source: Uri, place: Uri, failure: Uri, headers: Mapping[str, str]) -> None:
        """Answer one request of the queue; the answer, or why there is none, goes to S3."""
        try:
            with self._endpoints.variant(name) as variant:
                answer = _ask(variant, self._objects.read(source), headers, _ASYNC_SECONDS, "")
        except KeyError:
            self._objects.write(failure, f"There is no object {source}.".encode())
        except ApiError as error:
            self._objects.write(failure, error.message.encode())
        else:
            self._objects.write(place if answer.status < 300 else failure, answer.body)


def _ask(variant: Variant, body: bytes, headers: Mapping[str, str], seconds: float, target: str) -> Answer:
    try:
        return variant.invoke(body, headers, seconds, target)
    except (OSError, http.client.HTTPException) as error:
        answer = Answer(0, {}, f"the container did not answer within {seconds:.0f} s ({error})".encode())
        raise model_error(answer, "") from None


def _response(answer: Answer, variant: Variant) -> Response:
    if answer.status >= 300:
        raise model_error(answer, "")
    if len(answer.body) > LIMIT:
        raise invalid(f"The model answered with {len(answer.body)} bytes; an endpoint gives {LIMIT} at most.")
    headers: Record = {"x-Amzn-Invoked-Production-Variant": variant.name}
    lowered = {name.lower(): value for name, value in answer.headers.items()}
    if _CUSTOM.lower() in lowered:
        headers[_CUSTOM] = lowered[_CUSTOM.lower()]
    return Response(answer.body, 200, headers, content_type=lowered.get("content-type", "application/octet-stream"))


def _headers(request: Request, prefix: str = "") -> dict[str, str]:
    """What the container gets; content type and Accept of an asynchronous request have a prefix on their way here."""
    sent = {**{name: name for name in (*_FORWARDED, _TARGET_MODEL)}, **{name: prefix + name for name in _FORWARDED[:2]}}
    given = {name: request.headers[each] for name, each in sent.items() if each in request.headers}
    return {"Content-Type": "application/octet-stream", **given}
