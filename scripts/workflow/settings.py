"""The one settings file of the desk, sagemaker.toml; the environment and the command line win over it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from desk import DeskError
from ways import DEFAULT_IMAGE, ROOT
from workflow.options import Asynchronous, Autoscaling, Canary, Capture, Debugger, Range, Serverless, Vpc

FILE = ROOT / "sagemaker.toml"
_IMAGE_URI = ROOT / ".image_uri"


class Settings(BaseSettings):
    """What every command works with. Frozen."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="DESK_", env_nested_delimiter="__", toml_file=FILE
    )

    # A tuning job's name has 32 characters at most, and time and kind take 16.
    project: str = Field("image-classifier", pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", max_length=16)
    region: str = "us-east-1"
    role: str = Field("", pattern=r"^(arn:aws[a-z\-]*:iam::\d{12}:role/.+)?$")
    bucket: str = ""
    image: str = ""
    accelerator: Literal["cuda", "cuda13", "cpu"] = "cuda"
    kms_key: str = ""
    weights: str = ""
    features: str = ""
    instance_type: str = "ml.g4dn.xlarge"
    instances: int = Field(1, ge=1)
    volume_gb: int = Field(50, ge=1)
    max_seconds: int = Field(14400, ge=1)
    spot: bool = True
    network_isolation: bool = True
    encrypt_traffic: bool = False
    serving: Literal["real-time", "serverless", "asynchronous", "multi-model"] = "real-time"
    serving_instance_type: str = "ml.g4dn.xlarge"
    serving_instances: int = Field(1, ge=1)
    serving_host: str = ""
    startup_seconds: int = Field(600, ge=60, le=3600)
    trials: int = Field(8, ge=1)
    parallel_trials: int = Field(2, ge=1)
    strategy: Literal["Bayesian", "Random", "Hyperband", "Grid"] = "Bayesian"
    objective: str = "val_accuracy"
    early_stopping: bool = True
    hyperparameters: dict[str, str | int | float | bool] = Field(default_factory=dict)
    ranges: dict[str, Range] = Field(default_factory=dict)
    debugger: Debugger = Debugger()
    vpc: Vpc = Vpc()
    autoscaling: Autoscaling = Autoscaling()
    serverless: Serverless = Serverless()
    asynchronous: Asynchronous = Asynchronous()
    canary: Canary = Canary()
    capture: Capture = Capture()
    tags: dict[str, str] = Field(default_factory=dict)
    prices: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def image_uri(self) -> str:
        """The image as SageMaker is told of it."""
        if self.image:
            return self.image
        return _IMAGE_URI.read_text().strip() if _IMAGE_URI.exists() else DEFAULT_IMAGE

    @property
    def data_uri(self) -> str:
        """Where the pictures lie."""
        return f"s3://{self.bucket}/{self.project}/data"

    def below(self, *names: str) -> str:
        """A place in the project's part of the bucket."""
        return "/".join((f"s3://{self.bucket}/{self.project}", *names))

    @property
    def labels(self) -> list[dict[str, str]]:
        """What marks all that the project makes, the project's own tag first."""
        marks = {"project": self.project, **self.tags} | {"project": self.project}
        return [{"Key": key, "Value": value} for key, value in marks.items()]

    @property
    def autoscales(self) -> bool:
        """Whether endpoints grow and shrink."""
        return self.serving != "serverless" and self.autoscaling.most > self.serving_instances

    @property
    def network(self) -> dict[str, list[str]] | None:
        """VpcConfig, or None outside of one."""
        if not self.vpc.subnets:
            return None
        return {"Subnets": self.vpc.subnets, "SecurityGroupIds": self.vpc.security_groups}


def read(words: Sequence[str] = ()) -> Settings:
    """Read the settings.

    Args:
        words: NAME=VALUE from the command line; `hyperparameters.epochs=3` reaches into a table.

    Raises:
        DeskError: a value cannot be used, or one that every command needs is missing.
    """
    try:
        settings = Settings(**_given(words))
    except (ValidationError, ValueError) as error:
        raise DeskError(_problem(error)) from None
    for name in ("role", "bucket"):
        if not getattr(settings, name):
            raise DeskError(
                f"{name} is not set; write it into {FILE.name} (`make infra` prints it), or DESK_{name.upper()}"
            )
    return settings


def _problem(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"{FILE.name} cannot be read: {error}"
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known: Any = Settings.model_fields
        if len(first["loc"]) > 1:
            known = known[str(first["loc"][0])].annotation.model_fields
        return f"{name} is no setting; the settings are {', '.join(known)}"
    return f"{name} cannot be used: {first['msg']}; see {FILE.name}"


def _given(words: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise DeskError(f"{word!r} is not NAME=VALUE, for example instance_type=ml.m5.large")
        table, dot, key = name.partition(".")
        if dot:
            given.setdefault(table, {})[key] = value
        else:
            given[name] = value
    return given


def existing(path: Path, what: str) -> Path:
    """A path that is there."""
    if not path.exists():
        raise DeskError(f"{path} is not there; name {what}")
    return path
