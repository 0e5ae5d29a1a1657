"""What the API answers when a request cannot be done."""


class ApiError(Exception):
    """An error as AWS's JSON protocol says it: a code, a sentence, an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status
        self.details: dict[str, object] = {}  # further members of the answer


def invalid(message: str) -> ApiError:
    """The request breaks a rule."""
    return ApiError("ValidationException", message)


def not_found(kind: str, name: str) -> ApiError:
    """There is no such thing. SageMaker calls that a ValidationException, and the SDK looks for these words."""
    return invalid(f'Could not find {kind} "{name}".')


def in_use(message: str) -> ApiError:
    """The name is taken, or the thing is busy."""
    return ApiError("ResourceInUse", message)
