"""What is asked of SageMaker for an endpoint, for every way to serve and type of instance; what a log means."""

from typing import Any

import pytest
from desk_commands import Quick
from started import BUCKET, ROLE

from workflow import endpoint_log, serving
from workflow.settings import Settings

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040)", "set serving_host"),
        ("exec /usr/local/bin/serve: exec format error", "PLATFORM=linux/amd64"),
        ("torch.OutOfMemoryError: CUDA out of memory", "take a larger instance"),
        ("Could not find model data at s3://b/k", "cannot be read"),
        ("all is well", ""),
    ],
)
def test_a_line_of_a_log_is_explained(line: str, meaning: str) -> None:
    assert meaning in endpoint_log.meaning_of(["begins", line])
    assert bool(endpoint_log.meaning_of([line])) is bool(meaning)


@pytest.mark.parametrize("kind", ["ml.m5.large", "ml.g4dn.xlarge", "ml.g7e.2xlarge", "ml.p3.2xlarge"])
@pytest.mark.parametrize("way", ["real-time", "serverless", "asynchronous"])
def test_what_is_asked_is_valid_for_the_service(desk: Quick, kind: str, way: str) -> None:
    chosen = Settings(
        role=ROLE, bucket=BUCKET, image="image:1", serving_instance_type=kind, serving=way, kms_key=KEY,
        capture={"percent": 0 if way == "serverless" else 20}, canary={"percent": 10}, tags={"a": "b"},
        vpc={"subnets": ["subnet-1"], "security_groups": ["sg-1"]},
    )  # fmt: skip
    name = f"valid-{way}-{kind.replace('.', '-')}"
    sagemaker = desk.api.sagemaker
    sagemaker.create_model(**serving.model(chosen, name, "s3://b/model.tar.gz"))
    sagemaker.create_endpoint_config(**serving.configuration(chosen, name))
    config = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    [variant] = config["ProductionVariants"]
    gpu = kind.startswith(("ml.g", "ml.p"))
    assert ("InferenceAmiVersion" in variant) is (gpu and way != "serverless")
    with pytest.raises(Exception, match='Could not find Endpoint "nobody"'):
        sagemaker.update_endpoint(
            EndpointName="nobody", EndpointConfigName=name, DeploymentConfig=serving.deployment(chosen, ["alarm"])
        )


@pytest.mark.parametrize(
    ("variant", "more", "message"),
    [
        ({"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 1}}, {}, "steps of 1024 MB"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 201}}, {}, "less than or equal to 200"),
        ({"InstanceType": "ml.m5.large"}, {}, "needs InstanceType and InitialInstanceCount"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/k"}}},
            "takes no AsyncInferenceConfig",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(desk: Quick, variant: Any, more: Any, message: str) -> None:
    sagemaker = desk.api.sagemaker
    if not sagemaker.list_models(NameContains="for-wrong")["Models"]:
        container = {"Image": "image", "ModelDataUrl": "s3://b/k"}
        sagemaker.create_model(ModelName="for-wrong", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    with pytest.raises(Exception, match=message):
        sagemaker.create_endpoint_config(
            EndpointConfigName="wrong",
            ProductionVariants=[{"VariantName": "a", "ModelName": "for-wrong", **variant}],
            **more,
        )
