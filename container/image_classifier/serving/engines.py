"""What runs the network: a compiled form of it on a CPU, or torch. Chosen here, with the reason; loaded by need."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from image_classifier import compiled
from image_classifier import config as configuration
from image_classifier.compiled import Compiled, Kind
from image_classifier.config import CONFIG, WEIGHTS, Config
from image_classifier.contract import Settings
from image_classifier.errors import UserError, sentence

if TYPE_CHECKING:
    from numpy import float32, uint8
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CPU = "cpu"
# Network input of one pass, in pixels: more gains no speed, and activations take up to 80 bytes a pixel and layer.
PASS_PIXELS = {CPU: 16 * 224 * 224, "cuda": 128 * 224 * 224}


class Engine(Protocol):
    """Turns pixels into logits."""

    config: Config
    batch_size: int  # pictures in one pass, at most

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

    def describe(self) -> str:
        """One line for the start-up report."""
        name = f"OpenVINO {self.kind}" if self.kind else "PyTorch fp32, as it was trained"
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
    made, fault = _variants(folder)
    if settings.engine != "auto":
        kind = Kind(settings.engine)
        if made is None or kind not in made.variants:
            reason = fault or f"there is no {kind} variant in it"
            raise UserError(f"CLASSIFIER_ENGINE={kind} cannot be used: {reason}; {compiled.REMEDY}.")
        return Choice(kind, CPU, f"CLASSIFIER_ENGINE={kind}; {made.variants[kind].why}")
    if device != CPU:
        return Choice(None, device, "a GPU is faster than the compiled variants, which are for CPUs")
    return _best(made) if made else Choice(None, CPU, fault)


def _variants(folder: Path) -> tuple[Compiled | None, str]:
    """The variants that belong to the weights; or why there are none."""
    config = configuration.read(folder) if (folder / CONFIG).exists() else None
    if config is None or config.compiled is None or not (folder / WEIGHTS).exists():
        return None, "it has no compiled variants"
    if configuration.fingerprint(folder, config) != config.compiled.source:
        return None, f"its compiled variants were made from another {WEIGHTS} or {CONFIG}"
    return config.compiled, ""


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

        engine = TorchEngine(folder, device, threads)
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
