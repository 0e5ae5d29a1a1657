"""CreateModel, CreateEndpointConfig and their sisters: names for what endpoints and transforms run."""

from collections.abc import Callable, Mapping

from local_sagemaker.aws import Uri, arn
from local_sagemaker.errors import invalid
from local_sagemaker.listing import page
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record, public
from local_sagemaker.variant import model_uri

Operation = Callable[[Record, str], Record]
MODEL, CONFIG = "Model", "EndpointConfig"
_MODEL_SUMMARY = ("ModelName", "ModelArn", "CreationTime")
_CONFIG_SUMMARY = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")


class Models:
    """Models and endpoint configurations: records only."""

    def __init__(self, platform: Platform) -> None:
        self._store = platform.store
        self.operations: Mapping[str, Operation] = {
            "CreateModel": self.create_model,
            "DescribeModel": lambda request, _: public(self._store.get(MODEL, request["ModelName"])),
            "DeleteModel": lambda request, _: self._delete(MODEL, request["ModelName"]),
            "ListModels": lambda request, _: self._list(MODEL, _MODEL_SUMMARY, "Models", request),
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": lambda request, _: public(self._store.get(CONFIG, request["EndpointConfigName"])),
            "DeleteEndpointConfig": lambda request, _: self._delete(CONFIG, request["EndpointConfigName"]),
            "ListEndpointConfigs": lambda request, _: self._list(CONFIG, _CONFIG_SUMMARY, "EndpointConfigs", request),
        }

    def create_model(self, request: Record, region: str) -> Record:
        """Name an image and the data of a model."""
        container = container_of(request)
        if not container.get("Image"):
            raise invalid("local_sagemaker needs the container's Image; it knows no model packages.")
        Uri.parse(model_uri(container))
        name = request["ModelName"]
        record = {**request, "ModelArn": arn(region, "model", name)}
        return {"ModelArn": self._store.create(MODEL, name, record)["ModelArn"]}

    def create_config(self, request: Record, region: str) -> Record:
        """Name variants of models."""
        for variant in request["ProductionVariants"]:
            model = self._store.get(MODEL, variant.get("ModelName", ""))
            _check_hosts(variant, model, request)
        name = request["EndpointConfigName"]
        record = {**request, "EndpointConfigArn": arn(region, "endpoint-config", name)}
        return {"EndpointConfigArn": self._store.create(CONFIG, name, record)["EndpointConfigArn"]}

    def _delete(self, kind: str, name: str) -> Record:
        self._store.delete(kind, name)
        return {}

    def _list(self, kind: str, members: tuple[str, ...], answer: str, request: Record) -> Record:
        found = [record for record in self._store.all(kind) if request.get("NameContains", "") in record[f"{kind}Name"]]
        return page(request, answer, [{member: record[member] for member in members} for record in found])


def _check_hosts(variant: Record, model: Record, config: Record) -> None:
    """Instances or none; ApiError for what serverless endpoints do not have."""
    if not variant.get("ServerlessConfig"):
        if not variant.get("InstanceType") or not variant.get("InitialInstanceCount"):
            raise invalid(f"Variant {variant['VariantName']!r} needs InstanceType and InitialInstanceCount.")
        return
    unknown = [
        *(member for member in ("EnableNetworkIsolation", "VpcConfig") if model.get(member)),
        *(member for member in ("DataCaptureConfig", "AsyncInferenceConfig", "KmsKeyId") if config.get(member)),
        *(member for member in ("InstanceType", "InferenceAmiVersion") if variant.get(member)),
        *(["Mode=MultiModel"] if container_of(model).get("Mode") == "MultiModel" else []),
    ]
    if unknown or variant["ServerlessConfig"]["MemorySizeInMB"] % 1024:
        raise invalid(f"A serverless variant takes no {', '.join(unknown) or 'memory but in steps of 1024 MB'}.")


def container_of(model: Record) -> Record:
    """The one container of a model; ApiError where there are several."""
    containers: list[Record] = (
        [model["PrimaryContainer"]] if model.get("PrimaryContainer") else model.get("Containers", [])
    )
    if len(containers) != 1:
        raise invalid("local_sagemaker serves models of one container; give PrimaryContainer.")
    return containers[0]
