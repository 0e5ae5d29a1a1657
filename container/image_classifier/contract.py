"""SageMaker's side of the contract: the /opt/ml layout and the environment, with a movable base directory.

Sources: SageMaker Developer Guide, "How Amazon SageMaker provides training information" and
"Use your own inference code with hosting services".
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
        description="Worker processes, each with its own copy of the model; when unset, one a GPU, or as many as "
        "cores and memory allow.",
    )
    timeout_seconds: int | None = Field(
        None,
        alias="SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS",
        ge=1,
        le=3600,
        description="Longest time one request may take, in seconds, before it is answered with 504; "
        "55 when unset, in a batch transform 595.",
    )
    timeout: int | None = Field(
        None,
        alias="SAGEMAKER_MODEL_SERVER_TIMEOUT",
        ge=1,
        le=3600,
        description="The same, for those who know it by this name; seconds here too.",
    )
    startup_seconds: int = Field(
        600,
        alias="SAGEMAKER_STARTUP_TIMEOUT",
        ge=1,
        le=3600,
        description="Longest time that loading a model may take, in seconds.",
    )
    threads: int | None = Field(
        None,
        alias="OMP_NUM_THREADS",
        ge=1,
        le=1024,
        description="Threads of each worker; when unset, the cores divided among the workers.",
    )
    queue: int | None = Field(
        None,
        alias="MMS_JOB_QUEUE_SIZE",
        ge=1,
        le=10_000,
        description="Requests that may wait for a worker; further ones are answered with 503.",
    )
    batch_size: int | None = Field(
        None,
        alias="MMS_BATCH_SIZE",
        ge=1,
        le=256,
        description="Requests that a worker may answer together; when unset 1; with a compiled network 2; on a GPU as "
        "measured at the start.",
    )
    batch_delay: int | None = Field(
        None,
        alias="MMS_MAX_BATCH_DELAY",
        ge=0,
        le=10_000,
        description="Milliseconds that a request may wait for others to answer it with; when unset 0: only for those "
        "that have come already; on a GPU a tenth of a batch's time, as measured at the start.",
    )
    heap_mb: int | None = Field(
        None,
        alias="SAGEMAKER_MAX_HEAP_SIZE",
        ge=32,
        description="Java's heap, in MiB; 128 when unset: no body passes through it.",
    )
    direct_mb: int | None = Field(
        None,
        alias="SAGEMAKER_MAX_DIRECT_MEMORY_SIZE",
        ge=32,
        description="Java's memory beside its heap, in MiB; 128 when unset.",
    )
    netty_threads: int | None = Field(
        None, alias="MMS_NUMBER_OF_NETTY_THREADS", ge=1, le=256, description="Java's threads for its management API."
    )
    client_threads: int | None = Field(
        None, alias="MMS_NETTY_CLIENT_THREADS", ge=1, le=256, description="Java's threads that speak to workers."
    )
    vm_arguments: str = Field(
        "", alias="SAGEMAKER_MODEL_SERVER_VMARGS", description="Further options for Java; they win over ours."
    )
    max_payload_mb: int = Field(
        6,
        alias="SAGEMAKER_MAX_PAYLOAD_IN_MB",
        ge=0,
        le=1024,
        description="Largest request body, in MiB; beyond it 413. 0 is the largest that can be had, 1024.",
    )
    batch: bool = Field(False, alias="SAGEMAKER_BATCH", description="Set by a batch transform.")
    batch_strategy: Literal["MULTI_RECORD", "SINGLE_RECORD"] = Field(
        "MULTI_RECORD", alias="SAGEMAKER_BATCH_STRATEGY", description="Set by a batch transform."
    )
    concurrent_transforms: int | None = Field(
        None,
        alias="SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        ge=0,
        description="Set by a batch transform: requests it sends at a time; at least so many may wait.",
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
        description="The user's own inference script, in the artifact's `code/` or at its root.",
    )
    log_level: int = Field(
        20,
        alias="SAGEMAKER_CONTAINER_LOG_LEVEL",
        ge=0,
        le=50,
        description="Log level by number: 10 debug, 20 info, 30 warning, 40 error.",
    )
    log_format: Literal["plain", "json"] = Field(
        "plain",
        alias="CLASSIFIER_LOG_FORMAT",
        description="`json`: `train` logs one JSON object a line; metric lines stay as they are.",
    )
    max_pixels: int = Field(
        50_000_000,
        alias="CLASSIFIER_MAX_PIXELS",
        ge=1,
        description="Largest picture, in pixels (width x height), that is decoded.",
    )
    records: int | None = Field(
        None,
        alias="CLASSIFIER_MAX_RECORDS",
        ge=1,
        le=100_000,
        description="Pictures in one request body, at most; beyond it 413. 1000 when unset, in a batch transform, "
        "which fills its bodies by size alone, 100000.",
    )
    worker_max_mb: int | None = Field(
        None,
        alias="CLASSIFIER_WORKER_MAX_MB",
        ge=64,
        description="Resident memory, in MiB, at which a worker is replaced by a fresh one, between two requests; "
        "never when unset. For a script that leaks.",
    )
    top_k: int = Field(
        5,
        alias="CLASSIFIER_TOP_K",
        ge=1,
        description="Labels in an answer unless the request asks otherwise.",
    )
    engine: Literal["auto", "int8", "fp32", "eager", "fp16", "bf16"] = Field(
        "auto",
        alias="CLASSIFIER_ENGINE",
        description="What runs the network: on a CPU `int8` or `fp32`, compiled by OpenVINO; PyTorch in fp32, `eager`, "
        "or in 16-bit numbers, `fp16` or `bf16`. `auto` takes the fastest that passed its accuracy check: on a CPU "
        "int8, then fp32, on a GPU fp16, then bf16; else `eager`.",
    )
    page: bool = Field(
        False,
        alias="CLASSIFIER_PAGE",
        description="Serve a page for people at `/`; `make serve` does.",
    )
    weights_dir: Path = Field(
        Path("/opt/weights"),
        alias="CLASSIFIER_WEIGHTS_DIR",
        description="Pretrained weights baked into the image at build time.",
    )
    use_smdebug: bool = Field(
        True, alias="USE_SMDEBUG", description="`false` or `0` switches the SageMaker Debugger hook off."
    )
    training_job_name: str = Field(
        "", alias="TRAINING_JOB_NAME", description="Set by SageMaker: its agent then samples the machine as well."
    )

    @field_validator("max_payload_mb")
    @classmethod
    def _zero_is_the_largest(cls, value: int) -> int:
        return value or 1024

    @property
    def request_seconds(self) -> int:
        """Longest time one request may take: SageMaker waits 60 s for an answer, in a batch transform 600 s."""
        return self.timeout_seconds or self.timeout or (595 if self.batch else 55)

    @property
    def max_records(self) -> int:
        """Pictures in one request body, at most."""
        return self.records or (100_000 if self.batch else 1000)

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
