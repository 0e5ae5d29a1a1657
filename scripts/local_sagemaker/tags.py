"""AddTags and ListTags, for all that is made here."""

from collections.abc import Callable, Mapping

from local_sagemaker.errors import invalid
from local_sagemaker.store import Record, Store

Operation = Callable[[Record, str], Record]
_KINDS = ("TrainingJob", "HyperParameterTuningJob", "TransformJob", "Model", "EndpointConfig", "Endpoint")


class Tags:
    """Tags lie in the records themselves, where the request that made them has put them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.operations: Mapping[str, Operation] = {"AddTags": self.add, "ListTags": self.listed}

    def add(self, request: Record, _region: str) -> Record:
        """Set tags; those of the same key are replaced."""
        kind, record = self._find(request["ResourceArn"])
        tags = {one["Key"]: one for one in [*record.get("Tags", []), *request["Tags"]]}
        self._store.update(kind, record[f"{kind}Name"], Tags=list(tags.values()))
        return {"Tags": list(tags.values())}

    def listed(self, request: Record, _region: str) -> Record:
        """The tags of one thing."""
        return {"Tags": self._find(request["ResourceArn"])[1].get("Tags", [])}

    def _find(self, arn: str) -> tuple[str, Record]:
        for kind in _KINDS:
            for record in self._store.all(kind):
                if record[f"{kind}Arn"] == arn:
                    return kind, record
        raise invalid(f"There is nothing with the ARN {arn}.")
