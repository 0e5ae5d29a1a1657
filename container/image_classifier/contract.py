"""SageMaker's side of the contract: the /opt/ml layout and the environment, with a movable base directory.

Sources: SageMaker Developer Guide, "How Amazon SageMaker provides training information" and
"Use your own inference code with hosting services".
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from image_classifier.errors import UserError


class Settings(BaseModel):
    """Every environment variable the image reads: the one table. Frozen; read once, passed down."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=False)

    base_dir: Path = Field(
        Path("/opt/ml"), alias="SAGEMAKER_BASE_DIR", description="Where SageMaker's directory layout begins."
    )
    port: int = Field(8080, alias="SAGEMAKER_BIND_TO_PORT", ge=1, le=65535, description="Port that `serve` listens on.")
    host: str = Field(
        "0.0.0.0",
        alias="CLASSIFIER_BIND_TO_HOST",
        description="Address that `serve` listens on; 127.0.0.1 keeps it on this machine.",
    )
    workers: int | None = Field(
        None,
        alias="SAGEMAKER_MODEL_SERVER_WORKERS",
        ge=1,
        le=256,
        description="Worker processes, each with its own copy of the model; computed from cores and memory when unset.",
    )
    timeout_seconds: int = Field(
        55,
        alias="SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS",
        ge=1,
        le=3600,
        description="Longest time one request may take, in seconds, before it is answered with 504.",
    )
    max_payload_mb: int = Field(
        6,
        alias="SAGEMAKER_MAX_PAYLOAD_IN_MB",
        ge=1,
        le=1024,
        description="Largest request body, in MiB; beyond it 413.",
    )
    default_accept: str = Field(
        "application/json",
        alias="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        description="Answer format when the request names none.",
    )
    multi_model: bool = Field(
        False,
        alias="SAGEMAKER_MULTI_MODEL",
        description="Serve many models, loaded and unloaded by the platform, instead of the one in `model/`.",
    )
    program: str = Field(
        "inference.py",
        alias="SAGEMAKER_PROGRAM",
        description="The user's own inference script in the artifact's `code/`.",
    )
    log_level: int = Field(
        20,
        alias="SAGEMAKER_CONTAINER_LOG_LEVEL",
        ge=0,
        le=50,
        description="Log level by number: 10 debug, 20 info, 30 warning, 40 error.",
    )
    max_pixels: int = Field(
        50_000_000,
        alias="CLASSIFIER_MAX_PIXELS",
        ge=1,
        description="Largest picture, in pixels (width x height), that is decoded.",
    )
    top_k: int = Field(
        5,
        alias="CLASSIFIER_TOP_K",
        ge=1,
        description="Labels in an answer unless the request asks otherwise.",
    )
    weights_dir: Path = Field(
        Path("/opt/weights"),
        alias="CLASSIFIER_WEIGHTS_DIR",
        description="Pretrained weights baked into the image at build time.",
    )
    use_smdebug: bool = Field(
        True, alias="USE_SMDEBUG", description="`false` or `0` switches the SageMaker Debugger hook off."
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check the environment.

        Raises:
            UserError: a variable holds a value that cannot be used; names the variable, the value and what is allowed.
        """
        known = {field.alias for field in cls.model_fields.values()}
        try:
            return cls.model_validate({name: value for name, value in environ.items() if name in known and value != ""})
        except ValidationError as error:
            problem = error.errors()[0]
            raise UserError(
                f"Environment variable {problem['loc'][0]}={problem['input']!r} cannot be used: {problem['msg']}."
            ) from None


@dataclass(frozen=True)
class Layout:
    """Where things lie below the base directory (/opt/ml on SageMaker)."""

    base: Path

    @property
    def config(self) -> Path:
        """Configuration files that the platform writes before the start."""
        return self.base / "input" / "config"

    @property
    def model(self) -> Path:
        """The artifact: written by `train`, read by `serve`."""
        return self.base / "model"

    @property
    def output(self) -> Path:
        """Parent of `data/`, `failure` and the Debugger's `tensors/`."""
        return self.base / "output"

    @property
    def output_data(self) -> Path:
        """Results that are not the model; SageMaker uploads them as output.tar.gz."""
        return self.output / "data"

    @property
    def failure(self) -> Path:
        """Reason of a failed job."""
        return self.output / "failure"

    @property
    def checkpoints(self) -> Path:
        """Mirrored to S3 while the job runs; `checkpointconfig.json` may move it."""
        local_path = self.read_config("checkpointconfig.json").get("LocalPath")
        return Path(local_path) if local_path else self.base / "checkpoints"

    def channels(self) -> dict[str, Path]:
        """Input channels that exist, by name."""
        folder = self.base / "input" / "data"
        return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}

    def read_config(self, name: str) -> dict[str, Any]:
        """Read one JSON file of the platform's; an absent file is an empty one.

        Raises:
            UserError: the file is not a JSON object.
        """
        path = self.config / name
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON ({error}); write it as a JSON object.") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}.")
        return content
