"""The tables of sagemaker.toml, one class each."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _split(value: Any) -> Any:
    """The command line gives a list as a,b,c."""
    return value.split(",") if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_split)]
Range = Annotated[list[float | int | str], BeforeValidator(_split)]


class Table(BaseModel):
    """Frozen, and nothing but its own names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Debugger(Table):
    """AWS's Debugger, beside the image's own rules."""

    use: Literal["auto", "on", "off"] = "auto"
    rules: Words = ["VanishingGradient", "ExplodingTensor"]
    save_interval: int = Field(100, ge=1)
    profile_milliseconds: Annotated[Literal[100, 200, 500, 1000, 5000, 60000], BeforeValidator(int)] = 500


class Vpc(Table):
    """Where jobs and endpoints run; both lists or none."""

    subnets: Words = []
    security_groups: Words = []

    @model_validator(mode="after")
    def _is_whole(self) -> "Vpc":
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("give subnets and security_groups, or neither")
        return self


class Autoscaling(Table):
    """Of an endpoint; `most` above the number of instances switches it on."""

    most: int = Field(0, ge=0)
    requests_a_minute: float = Field(600, gt=0)
    waiting: float = Field(5, gt=0)
    grow_seconds: int = Field(60, ge=0)
    shrink_seconds: int = Field(300, ge=0)


class Serverless(Table):
    """Of a serverless endpoint."""

    memory_mb: int = Field(4096, ge=1024, le=6144, multiple_of=1024)
    concurrency: int = Field(5, ge=1, le=200)


class Asynchronous(Table):
    """Of an asynchronous endpoint: what one request may bring and take; the model server needs memory for the first."""

    payload_mb: int = Field(64, ge=6, le=1024)
    seconds: int = Field(900, ge=60, le=3600)


class Canary(Table):
    """How an update reaches an endpoint that answers already."""

    percent: int = Field(0, ge=0, le=50)
    wait_seconds: int = Field(300, ge=0, le=3600)
    errors: int = Field(1, ge=1)
    alarms: Annotated[Words, Field(max_length=9)] = []


class Capture(Table):
    """What an endpoint keeps of requests and answers."""

    percent: int = Field(0, ge=0, le=100)
