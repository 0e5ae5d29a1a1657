"""The one door of the server: SageMaker's operations are answered here, everything else goes on to moto."""

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from werkzeug.wrappers import Request, Response

from local_sagemaker import validation
from local_sagemaker.aws import Objects
from local_sagemaker.errors import ApiError
from local_sagemaker.store import Record

Operation = Callable[[Record, str], Record]
Page = Callable[[Request], Response]
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

_SCOPE = re.compile(r"/\d{8}/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request")


class Front:
    """A WSGI application around moto's.

    Args:
        aws: moto's.
        operations: SageMaker's operations that run here, by name; they get the request and the region.
        pages: what answers paths that begin so.
        objects: told of every request to S3.
    """

    def __init__(
        self, aws: Wsgi, operations: Mapping[str, Operation], pages: Mapping[str, Page], objects: Objects
    ) -> None:
        self._aws, self.operations, self._pages, self._objects = aws, operations, pages, objects

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        answer = self._own(request)
        if answer:
            return answer(environ, start_response)
        body = self._aws(environ, start_response)
        if _scope(request).get("service") == "s3":
            self._objects.notice(request.method, request.path, request.query_string.decode())
        return body

    def _own(self, request: Request) -> Response | None:
        service, _, name = request.headers.get("X-Amz-Target", "").partition(".")
        operation = self.operations.get(name) if service == "SageMaker" else None
        page = self._page(request)
        if operation:
            return guarded(lambda: _answer(name, operation, request))
        return guarded(lambda: page(request)) if page else None

    def _page(self, request: Request) -> Page | None:
        """The page for a request, but for those to S3, whose buckets may have any name, and to others' `/`."""
        scope = _scope(request)
        if scope.get("service") == "s3" or (request.path == "/" and (scope or request.method != "GET")):
            return None
        found = next((prefix for prefix in self._pages if prefix != "/" and request.path.startswith(prefix)), None)
        chosen = self._pages.get(found or ("/" if request.path == "/" else ""))
        return chosen and _checked(chosen)


def guarded(work: Callable[[], Response]) -> Response:
    """An answer in any case: an error as AWS's JSON protocol says it."""
    try:
        return work()
    except ApiError as error:
        return error_answer(error)
    except Exception as error:
        traceback.print_exc()
        return error_answer(ApiError("InternalFailure", f"local_sagemaker: {type(error).__name__}: {error}", 500))


def error_answer(error: ApiError) -> Response:
    """An error in AWS's form."""
    body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message, **error.details})
    headers = {"x-amzn-ErrorType": error.code}
    return Response(body, error.status, headers, content_type="application/x-amz-json-1.1")


def region_of(request: Request) -> str:
    """The region that a request was signed for."""
    return _scope(request).get("region", "us-east-1")


def _answer(name: str, operation: Operation, request: Request) -> Response:
    content = json.loads(request.get_data() or b"{}")
    validation.check(name, content)
    answer = operation(content, region_of(request))
    return Response(json.dumps(answer), 200, content_type="application/x-amz-json-1.1")


def _scope(request: Request) -> dict[str, str]:
    signed = request.headers.get("Authorization", "") + request.args.get("X-Amz-Credential", "")
    found = _SCOPE.search(signed)
    return found.groupdict() if found else {}


def _checked(page: Page) -> Page:
    """A page that no other site's page can ask for: a browser would reach this address for it."""

    def answer(request: Request) -> Response:
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise ApiError("AccessDeniedException", "This request comes from a page of another site.", 403)
        return page(request)

    return answer
