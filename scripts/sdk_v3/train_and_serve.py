"""The desk's walk with SageMaker's SDK 3: upload, train, tune, deploy the best, predict, clean up.

train_and_serve.py PICTURES -> the likeliest classes of one picture of test/; settings from sagemaker.toml
"""

import json
import sys
import time
from pathlib import Path

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter, IntegerParameter
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TrainingJob
from sagemaker.core.shapes import (
    CheckpointConfig,
    ContainerDefinition,
    MetricDefinition,
    OutputDataConfig,
    ProductionVariant,
    StoppingCondition,
    Tag,
    VpcConfig,
)
from sagemaker.core.training.configs import Compute, InputData, Networking
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

from desk import DeskError
from ways import ROOT
from workflow.instances import host, volume_key
from workflow.settings import Settings, existing, read
from workflow.weights import pretrained

METRICS = ROOT / "container" / "image_classifier" / "training" / "metric_definitions.json"
CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
RANGES = {
    "learning_rate": ContinuousParameter(1e-4, 1e-2, "Logarithmic"),
    "batch_size": IntegerParameter(8, 32),
}


def model_trainer(settings: Settings, session: Session) -> ModelTrainer:
    """The image behind SDK 3's ModelTrainer, by the settings."""
    seconds = settings.max_seconds
    made = ModelTrainer(
        training_image=settings.image_uri,
        role=settings.role,
        base_job_name=settings.project,
        hyperparameters=settings.hyperparameters,
        compute=Compute(
            instance_type=settings.instance_type,
            instance_count=settings.instances,
            volume_size_in_gb=settings.volume_gb,
            enable_managed_spot_training=settings.spot,
            volume_kms_key_id=volume_key(settings, settings.instance_type),
        ),
        stopping_condition=StoppingCondition(
            max_runtime_in_seconds=seconds, **({"max_wait_time_in_seconds": seconds} if settings.spot else {})
        ),
        checkpoint_config=CheckpointConfig(s3_uri=settings.below("checkpoints", time.strftime("v3-%m%d%H%M%S"))),
        networking=network(settings),
        output_data_config=OutputDataConfig(s3_output_path=settings.below("jobs"), **key(settings.kms_key)),
        tags=tags(settings),
        sagemaker_session=session,
    )
    return made.with_metric_definitions([MetricDefinition(name=name, regex=regex) for name, regex in metrics().items()])


def tune(settings: Settings, trainer: ModelTrainer, channels: list[InputData]) -> TrainingJob:
    """Search for good hyperparameters; the best trial's training job."""
    tuner = HyperparameterTuner(
        trainer,
        "val_loss",
        RANGES,
        [{"Name": name, "Regex": regex} for name, regex in metrics().items()],
        objective_type="Minimize",
        max_jobs=settings.trials,
        max_parallel_jobs=settings.parallel_trials,
        base_tuning_job_name=settings.project,
    )
    if volume_key(settings, settings.instance_type):
        print(
            "note: SDK 3's tuner leaves kms_key out for the volumes of its trials; their results are encrypted with it"
        )
    tuner.tune(channels)
    return TrainingJob.get(tuner.best_training_job(), session=trainer.sagemaker_session.boto_session)


def deploy(settings: Settings, job: TrainingJob, session: Session) -> tuple[Endpoint, EndpointConfig, Model]:
    """A training job's model behind an endpoint of its own, when it answers."""
    name, aws = time.strftime(f"{settings.project}-v3-%m%d%H%M%S"), session.boto_session
    container = ContainerDefinition(image=settings.image_uri, model_data_url=job.model_artifacts.s3_model_artifacts)
    model = Model.create(
        name,
        primary_container=container,
        execution_role_arn=settings.role,
        enable_network_isolation=settings.network_isolation,
        tags=tags(settings),
        session=aws,
        **vpc(settings),
    )
    encrypted = key(volume_key(settings, settings.serving_instance_type))
    config = EndpointConfig.create(
        name, production_variants=[hosts(settings, name)], tags=tags(settings), session=aws, **encrypted
    )
    endpoint = Endpoint.create(name, endpoint_config_name=name, tags=tags(settings), session=aws)
    endpoint.wait_for_status("InService")
    return endpoint, config, model


def hosts(settings: Settings, model: str) -> ProductionVariant:
    """The instances behind an endpoint."""
    seconds = settings.startup_seconds
    return ProductionVariant(
        variant_name="AllTraffic",
        model_name=model,
        initial_instance_count=settings.serving_instances,
        instance_type=settings.serving_instance_type,
        model_data_download_timeout_in_seconds=seconds,
        container_startup_health_check_timeout_in_seconds=seconds,
        **({"inference_ami_version": ami} if (ami := host(settings)) else {}),
    )


def classify(endpoint: Endpoint, picture: Path) -> list[tuple[str, float]]:
    """The likeliest classes of a picture with their probabilities, the best first."""
    said = endpoint.invoke(picture.read_bytes(), content_type="application/octet-stream", accept="application/json")
    answer = json.loads(said.body.read())
    return list(zip(answer["topk_labels"], answer["topk_probs"], strict=True))


def metrics() -> dict[str, str]:
    """What the image prints, name by name, and the expression that reads it."""
    return {one["Name"]: one["Regex"] for one in json.loads(METRICS.read_text())}


def key(name: str | None) -> dict[str, str]:
    """The argument for an encryption key; none where there is no key."""
    return {"kms_key_id": name} if name else {}


def network(settings: Settings) -> Networking:
    """Where a job runs, and what it may reach."""
    return Networking(
        enable_network_isolation=settings.network_isolation,
        enable_inter_container_traffic_encryption=settings.encrypt_traffic,
        subnets=settings.vpc.subnets or None,
        security_group_ids=settings.vpc.security_groups or None,
    )


def vpc(settings: Settings) -> dict[str, VpcConfig]:
    """The argument for a model's VPC; none outside of one."""
    if not settings.vpc.subnets:
        return {}
    return {"vpc_config": VpcConfig(subnets=settings.vpc.subnets, security_group_ids=settings.vpc.security_groups)}


def tags(settings: Settings) -> list[Tag]:
    """What marks all that the project makes, so that `make sm-clean` finds what is left."""
    return [Tag(key=one["Key"], value=one["Value"]) for one in settings.labels]


def walk(settings: Settings, pictures: Path) -> None:
    """The whole road with one folder of pictures."""
    session = Session(
        boto3.Session(region_name=settings.region), default_bucket=settings.bucket, sagemaker_config=CONFIG
    )
    sources = pretrained(settings)
    sources["training"] = session.upload_data(str(pictures), settings.bucket, f"{settings.project}/data")
    channels = [InputData(channel_name=name, data_source=uri) for name, uri in sources.items()]
    trainer = model_trainer(settings, session)
    trainer.train(channels)
    made = deploy(settings, tune(settings, trainer, channels), session)
    try:
        picture = next(file for file in sorted((pictures / "test").rglob("[!.]*")) if file.is_file())
        for label, share in classify(made[0], picture):
            print(f"{share:6.1%}  {label}")
    finally:
        for one in made:
            one.delete()


if __name__ == "__main__":
    try:
        walk(read(), existing(Path(*sys.argv[1:2]), "a folder of pictures"))
    except DeskError as error:
        sys.exit(f"train_and_serve: {error}")
