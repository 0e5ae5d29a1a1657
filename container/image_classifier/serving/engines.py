"""What runs the network: a compiled form of it on a CPU, or torch. Chosen here, with the reason; loaded by need."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from image_classifier import compiled
from image_classifier import config as configuration
from image_classifier.compiled import Compiled, Kind
from image_classifier.config import CONFIG, WEIGHTS, Config
from image_classifier.contract import Settings
from image_classifier.errors import UserError, sentence
from image_classifier.half import Half, Halves

if TYPE_CHECKING:
    from numpy import float32, uint8
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CPU = "cpu"
DECODERS = 8  # threads that feed a GPU
# Network input of one pass, in pixels: more gains no speed, and activations take up to 80 bytes a pixel and layer.
PASS_PIXELS = {CPU: 16 * 224 * 224, "cuda": 128 * 224 * 224}

_HOW_TO_NOTE = "on a GPU, `python -m image_classifier.compile MODEL_DIR DATA_DIR` makes them"
Made = TypeVar("Made", Compiled, Halves)


class Engine(Protocol):
    """Turns pixels into logits."""

    config: Config
    batch_size: int  # pictures in one pass, at most
    decoders: int  # pictures decoded at a time

    def logits(self, pixels: "NDArray[uint8]", alone: bool = False) -> "NDArray[float32]":
        """Run the network.

        Args:
            pixels: [n, image_size, image_size, 3], as `images.read` gives them.
            alone: no other worker runs now, so that all cores may be used.

        Returns:
            [n, classes].
        """


@dataclass(frozen=True)
class Choice:
    """What runs the network: a compiled variant, or torch where there is none; and why, as a clause."""

    kind: Kind | None
    device: str
    why: str
    half: Half | None = None  # of torch: with 16-bit numbers

    def describe(self) -> str:
        """One line for the start-up report."""
        torch = f"PyTorch {self.half}" if self.half else "PyTorch fp32, as it was trained"
        name = f"OpenVINO {self.kind}" if self.kind else torch
        return f"Engine: {name}, on {self.device}; {self.why}."


def choose(folder: Path, settings: Settings, device: str) -> Choice:
    """Choose what runs the artifact in a folder.

    Args:
        folder: the artifact.
        settings: CLASSIFIER_ENGINE.
        device: `cpu`, or `cuda:0` and so on, which runs the network with torch.

    Raises:
        UserError: a variant was asked for, and the artifact does not have it; its configuration cannot be read.
    """
    if settings.engine == "eager":
        return Choice(None, device, "CLASSIFIER_ENGINE=eager")
    if settings.engine in tuple(Half) or (settings.engine == "auto" and device != CPU):
        return _on_torch(folder, settings, device)
    made, fault = _variants(folder)
    if settings.engine != "auto":
        kind = Kind(settings.engine)
        if made is None or kind not in made.variants:
            reason = fault or f"there is no {kind} variant in it"
            raise UserError(f"CLASSIFIER_ENGINE={kind} cannot be used: {reason}; {compiled.REMEDY}.")
        return Choice(kind, CPU, f"CLASSIFIER_ENGINE={kind}; {made.variants[kind].why}")
    return _best(made) if made else Choice(None, CPU, fault)


def _on_torch(folder: Path, settings: Settings, device: str) -> Choice:
    """The 16-bit numbers that were asked for, or the first that passed and that the GPU has; else fp32."""
    from image_classifier import gpu  # NVIDIA's library, wanted on few machines

    noted, fault = _halves(folder)
    variants = noted.variants if noted else {}
    if settings.engine != "auto":
        half = Half(settings.engine)
        told = variants[half].why if half in variants else "what it costs was not measured"
        return Choice(None, device, f"CLASSIFIER_ENGINE={half}; {told}", half)
    against = [f"{half} is not used: {variant.why}" for half, variant in variants.items() if not variant.used]
    for half in (half for half in Half if half in variants and variants[half].used):
        if half is Half.FP16 or gpu.have_bf16(gpu.find()):
            return Choice(None, device, "; ".join([variants[half].why, *against]), half)
        against.append(f"{half} is not used: this GPU has none")
    return Choice(None, device, "; ".join(against) or f"{fault}; {_HOW_TO_NOTE}")


def _variants(folder: Path) -> tuple[Compiled | None, str]:
    config = configuration.read(folder) if (folder / CONFIG).exists() else None
    return _belonging(folder, config, config.compiled if config else None, "compiled variants")


def _halves(folder: Path) -> tuple[Halves | None, str]:
    config = configuration.read(folder) if (folder / CONFIG).exists() else None
    return _belonging(folder, config, config.half if config else None, "measurements in 16-bit numbers")


def _belonging(folder: Path, config: Config | None, made: Made | None, name: str) -> tuple[Made | None, str]:
    """What was made from the weights that are there; or why there is none."""
    if config is None or made is None or not (folder / WEIGHTS).exists():
        return None, f"it has no {name}"
    if configuration.fingerprint(folder, config) != made.source:
        return None, f"its {name} were made from another {WEIGHTS} or {CONFIG}"
    return made, ""


def _best(made: Compiled) -> Choice:
    """The fastest variant that passed; says of those before it why they did not."""
    against = [f"{kind} is not used: {made.variants[kind].why}" for kind in Kind if _failed(made, kind)]
    for kind in Kind:
        variant = made.variants.get(kind)
        if variant and variant.used:
            return Choice(kind, CPU, "; ".join([variant.why, *against]))
    return Choice(None, CPU, "; ".join(against) or "it has no compiled variants")


def _failed(made: Compiled, kind: Kind) -> bool:
    return kind in made.variants and not made.variants[kind].used


def load(folder: Path, settings: Settings, device: str, threads: int, alone: int = 0) -> Engine:
    """Load what `choose` names, ready to answer: it has run once.

    Args:
        folder: the artifact.
        settings: CLASSIFIER_ENGINE.
        device: see `choose`.
        threads: for the network.
        alone: threads for a request that is the only one at work, where they are more; see CompiledEngine.

    Raises:
        UserError: the artifact cannot be loaded.
    """
    choice = choose(folder, settings, device)
    engine: Engine
    if choice.kind:
        engine = CompiledEngine(folder, choice.kind, threads, max(threads, alone))
    else:
        from image_classifier.serving.torch_engine import TorchEngine  # seconds, and 200 MB

        engine = TorchEngine(folder, choice.device, threads, choice.half)
    _warm_up(engine)
    return engine


def _warm_up(engine: Engine) -> None:
    """The first pass compiles and allocates; let no caller wait for it."""
    import numpy as np

    size = engine.config.preprocessing.image_size
    engine.logits(np.zeros((1, size, size, 3), np.uint8))


def pictures_of_a_pass(config: Config, device: str) -> int:
    """How many pictures go through the network together, at most."""
    return max(1, PASS_PIXELS[device.partition(":")[0]] // config.preprocessing.image_size**2)


class CompiledEngine:
    """A compiled variant, on the CPU.

    Its second form, for all cores, is made beside the first request that is alone: no start waits for it.
    """

    def __init__(self, folder: Path, kind: Kind, threads: int, alone: int) -> None:
        self.config = configuration.read(folder)
        self.batch_size = pictures_of_a_pass(self.config, CPU)
        self.decoders = 1  # every core has a worker
        self._file, self._alone = compiled.path(folder, kind), alone
        self._network = compiled.Network(self._file, threads)
        self._wide = self._network
        self._widening = threading.Thread(target=self._widen, daemon=True) if alone > threads else None

    def logits(self, pixels: "NDArray[uint8]", alone: bool = False) -> "NDArray[float32]":
        """See Engine."""
        if alone and self._widening:
            self._widening.start()
            self._widening = None
        return (self._wide if alone else self._network).logits(pixels)

    def _widen(self) -> None:
        try:
            self._wide = compiled.Network(self._file, self._alone)
        except Exception as error:
            logger.warning("A request alone has no more threads than others: %s", sentence(error))
