"""Lists in pages."""

from collections.abc import Sequence

from local_sagemaker.errors import invalid
from local_sagemaker.store import Record

_PAGE = 100


def page(request: Record, member: str, items: Sequence[Record]) -> Record:
    """The page of a list that a request asks for, sorted as it asks where it names a member of the items."""
    if request.get("SortOrder") == "Ascending":
        items = list(reversed(items))
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise invalid(f"NextToken {token!r} is none of ours.")
    begin, size = int(token), request.get("MaxResults", _PAGE)
    answer: Record = {member: list(items[begin : begin + size])}
    return {**answer, "NextToken": str(begin + size)} if begin + size < len(items) else answer
