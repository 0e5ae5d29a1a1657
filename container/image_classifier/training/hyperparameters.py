"""The one table of hyperparameters: names, types, ranges, defaults, help.

SageMaker sends every value as a string, some senders as JSON inside it; both arrive here and leave as typed values.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from image_classifier import networks
from image_classifier.errors import UserError
from image_classifier.insight.hook import Wishes
from image_classifier.training.recipes import RECIPES, Recipe

# Names of SageMaker's built-in image classifier and of common scripts.
ALIASES = {
    "mini_batch_size": "batch_size",
    "lr": "learning_rate",
    "model": "architecture",
    "arch": "architecture",
    "use_pretrained_model": "pretrained",
    "patience": "early_stopping_patience",
    "workers": "num_workers",
}


class Hyperparameters(BaseModel):
    """What a training job can be told. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe = Field(
        "none",
        description="Values for what is not given: `quick` learns a head on features, `balanced` and `best` fine-tune "
        "all weights, in few epochs and in more.",
    )
    architecture: str = Field(
        "resnet18", description="Any image classifier of torchvision, such as resnet18 or resnet50."
    )
    pretrained: bool = Field(
        True,
        description="Start from pretrained weights: the `pretrained` channel, the image, or torchvision's download.",
    )
    freeze_backbone: bool = Field(True, description="Train only the last layer; the backbone keeps its weights.")
    probe_epochs: int = Field(
        0, ge=0, le=1000, description="Epochs in which the head learns alone, on features, before all weights do."
    )
    epochs: int = Field(10, ge=1, le=1000, description="Passes over the training pictures.")
    batch_size: int = Field(64, ge=1, le=4096, description="Pictures in a step.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Step size at its highest.")
    backbone_learning_rate_factor: float = Field(
        1.0, gt=0, le=1, description="The backbone's share of the learning rate, when it learns."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="How gradients become updates.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum; only for sgd.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Pull of the weights towards zero.")
    schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        "cosine", description="Course of the learning rate over the whole job."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target given to all classes alike.")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the weights' moving average that a step keeps; that average is then validated and saved.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Numbers to learn with; `auto`: bf16 or fp16 on a GPU, whichever it has, fp32 on a CPU."
    )
    image_size: int = Field(224, ge=32, le=1024, description="Side of the square the network sees, in pixels.")
    augmentation: Literal["none", "light", "standard"] = Field(
        "none",
        description="`none`: the centre crop; `light`: flips; `standard`: random resized crops, flips, colour changes.",
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=0.9,
        description="Share of the training pictures held out when there is no validation split.",
    )
    early_stopping_patience: int = Field(
        0,
        ge=0,
        le=1000,
        description="Stop after so many epochs without a better validation; 0 never stops early.",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced`: a rare class weighs as much in the loss as a common one."
    )
    max_bad_pictures: int = Field(
        10, ge=0, le=1_000_000, description="Pictures that may be damaged; they are named and left out."
    )
    num_workers: int = Field(
        0,
        ge=0,
        le=128,
        description="Threads that decode pictures; 0 takes one for each core, and in FastFile mode at least 8.",
    )
    compile: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: add compiled variants for CPUs to the artifact, in fp32 and int8, with what was measured; "
        "on a GPU note what 16-bit numbers cost there.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, le=1000, description="Newest checkpoints that are kept, one an epoch; with 2, one may be damaged."
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Same seed, data and machine: same weights; nearly so on a GPU, where sums have no fixed order.",
    )

    debug: Literal["off", "light", "full"] = Field(
        "light",
        description="What the Debugger saves: `light`: losses and small summaries in at most 30 steps; `full`: the "
        "tensors themselves; `off`: nothing, and no profile. A `debughookconfig.json` overrules `light` and `full`.",
    )
    debug_interval: int = Field(
        0, ge=0, le=1_000_000, description="Steps between two savings of `debug=full`; 0 spreads ten over the job."
    )
    profile_steps: int = Field(
        0, ge=0, le=100, description="Training steps that torch.profiler writes a trace of; 0 writes none."
    )
    stop_on: str = Field(
        "", description="Rules that end the job when they find an issue, with commas: `ExplodingTensor,DeadRelu`."
    )
    tensorboard: bool = Field(False, description="Write event files for TensorBoard.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, values: dict[str, Any]) -> dict[str, Any]:
        preset = RECIPES.get(str(values.get("recipe")), {})  # type: ignore[call-overload]
        return {**preset, **values}

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, value: str) -> str:
        try:
            return networks.check_architecture(value)
        except UserError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> "Hyperparameters":
        if self.freeze_backbone and not self.pretrained:
            raise ValueError(
                "freeze_backbone=true with pretrained=false would train on random features; "
                "set freeze_backbone=false, or pretrained=true"
            )
        return self

    @model_validator(mode="after")
    def _rules_need_tensors(self) -> "Hyperparameters":
        if self.stop_on and self.debug == "off":
            raise ValueError("stop_on needs what the Debugger saves; set debug=light, or leave stop_on out")
        return self

    def describe(self) -> list[str]:
        """A line for each value, and where it comes from when it was not given (or is the recipe's anyway)."""
        return [f"{name} = {value}{self._source(name, value)}" for name, value in self]

    def _source(self, name: str, value: object) -> str:
        preset = RECIPES[self.recipe]
        if name in preset and value == preset[name]:
            return f" (recipe {self.recipe})"
        return "" if name in self.model_fields_set else " (default)"

    def wishes(self) -> Wishes:
        """What the hook is asked for."""
        return Wishes(
            debug=self.debug,
            debug_interval=self.debug_interval,
            profile_steps=self.profile_steps,
            stop_on=tuple(name.strip() for name in self.stop_on.split(",") if name.strip()),
            tensorboard=self.tensorboard,
        )


# What only tells about a job, and changes nothing of what it learns.
OBSERVING = frozenset(
    {"compile", "num_workers", "keep_checkpoints", "debug", "debug_interval", "profile_steps", "stop_on", "tensorboard"}
)


def parse(raw: Mapping[str, Any]) -> Hyperparameters:
    """Turn the job's strings into checked values.

    Args:
        raw: content of hyperparameters.json; values raw (`adam`) or JSON (`"adam"`), names with hyphen or underscore.
            SageMaker's own keys (`sagemaker_*`, `_tuning_objective_metric`) are left out.

    Raises:
        UserError: an unknown name (with a suggestion), or a value that cannot be used.
    """
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name.startswith(("sagemaker_", "_tuning_")):
            continue
        field = _field_name(name)
        if field in values:
            raise UserError(f"Hyperparameter {field} is given twice, once as {name}; keep one of them.")
        values[field] = _plain(value)
    try:
        return Hyperparameters.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def _field_name(name: str) -> str:
    field = name.strip().replace("-", "_").lower()
    field = ALIASES.get(field, field)
    if field in Hyperparameters.model_fields:
        return field
    near = difflib.get_close_matches(field, [*Hyperparameters.model_fields, *ALIASES], n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(Hyperparameters.model_fields)}."
    raise UserError(f"Unknown hyperparameter {' '.join(name.split())}; {hint}")


def _plain(value: Any) -> Any:
    """Take the JSON coat off: '"adam"' -> 'adam', '"0.1"' -> '0.1', 'True' stays text for pydantic."""
    for _ in range(2):  # some senders encode twice
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # RecursionError: thousands of opening brackets
            break
    return value.strip() if isinstance(value, str) else value


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
        field = problem["loc"][0] if problem["loc"] else None
        named = field is None or reason.startswith(str(field))
        problems.append(reason if named else f"hyperparameter {field}={problem['input']!r}: {reason}")
    text = "; ".join(problems)
    text = text.replace("hyperparameter", "Hyperparameter", 1) if text.startswith("hyperparameter") else text
    return text if text.endswith("?") else f"{text}."
