"""One training job: channels in, artifact out. The steps, in order."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from image_classifier import artifact, machine, networks
from image_classifier.contract import Layout, Settings
from image_classifier.errors import UserError
from image_classifier.images import Preprocessing
from image_classifier.insight import hook
from image_classifier.training import (
    batch_norm,
    chronicle,
    compiling,
    dataset,
    features,
    predictions,
    pretrained,
    probe,
    results,
)
from image_classifier.training.checkpoint import Checkpoints, fingerprint
from image_classifier.training.chronicle import Chronicle
from image_classifier.training.dataset import Dataset, Split
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.evaluation import Evaluation, Evaluator
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.folding import folded
from image_classifier.training.hyperparameters import OBSERVING, Hyperparameters
from image_classifier.training.loop import Progress, Trainer
from image_classifier.training.pixel_cache import PixelCache
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import FeatureSource, PictureSource, Source
from image_classifier.training.stopping import Stop, Stopped

logger = logging.getLogger(__name__)

_EVALUATION_BATCH = {"cpu": 16, "cuda": 256}  # on a CPU, what stays in its caches; on a GPU, what fills it


@dataclass
class Job:
    """What a training job works with."""

    layout: Layout
    settings: Settings
    chosen: Hyperparameters
    stop: Stop
    world: World = ALONE

    def __post_init__(self) -> None:
        self.chronicle = Chronicle()
        on_sagemaker = bool(self.settings.training_job_name)
        wanted = self.settings.use_smdebug and self.world.is_main
        self.hook = hook.create(self.layout, self.chosen.wishes(), wanted, on_sagemaker)

    def run(self) -> None:
        """Train, save the artifact, and check that it can be loaded.

        Raises:
            UserError: the data, the weights or the settings cannot be used.
            Stopped: asked to stop before there was anything to keep.
        """
        try:
            self._run()
        finally:
            self.hook.close()
            if self.world.is_main:
                self._write_facts()
                self._conclude()

    def _run(self) -> None:
        with self.chronicle.phase("reading"):
            data = dataset.find(self.layout.channels(), self.chosen.validation_fraction, self.chosen.seed)
        logger.info(data.describe())
        self.rejects = Rejects(min(self.chosen.max_bad_pictures, data.smallest() - 1))
        self.chronicle.note(**chronicle.of_data(data))
        self.key = self._fingerprint(data)
        dataset.check_same(self.world.gather((self.key, data.describe())))
        machine.keep_freed_memory()
        torch.set_num_threads(self._threads())
        device = self.world.device
        logger.info("Device: %s, %d cores.", device, self._threads())
        self.chronicle.note(device=_describe(device), cores=self._threads())
        self.evaluator = Evaluator(device, _EVALUATION_BATCH[device.type], self.stop, self.world)
        network = self._make_network(len(data.classes)).to(device)
        done = self._fit(network, data)
        with self._phase("test"):
            result = self._test(network, data, done.temperature)
        if self.world.is_main:
            with self.chronicle.phase("saving"):
                self._save(network, data, done, result)
            self._compile(data)

    def _compile(self, data: Dataset) -> None:
        """Give the artifact its compiled variants for CPUs, where they are wanted."""
        if self.chosen.compile == "off" or self.stop.requested:
            return
        with self.chronicle.phase("compiling"):
            train, validation = (replace(self._source(split), world=ALONE) for split in (data.train, data.validation))
            compiling.compile_artifact(self.layout.model, train, validation, self.stop)

    def _threads(self) -> int:
        return max(1, machine.cores() // self.world.local_size)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Around a pass over pictures, at whose end all processes know which of them are damaged."""
        with self.chronicle.phase(name):
            yield
        self.rejects.share(self.world)

    def _conclude(self) -> None:
        if self.chosen.debug == "off" or self.stop.requested:
            return
        from image_classifier.insight import conclusion  # readers of tensors and templates, wanted only at the end

        conclusion.conclude(self.layout.output, self.layout.output_data)

    def _write_facts(self) -> None:
        """Write `run.json`; a job does not fail for want of it."""
        self.chronicle.note(hyperparameters=self.chosen.model_dump(), versions=artifact.versions())
        try:
            self.chronicle.write(self.layout.output_data, self.hook.seconds())
        except Exception as error:
            logger.warning("run.json is not written (%s: %s).", type(error).__name__, error)

    def _make_network(self, num_classes: int) -> nn.Module:
        chosen = self.chosen
        torch.manual_seed(chosen.seed)  # the new head's random weights
        network = networks.build(chosen.architecture, num_classes)
        if chosen.pretrained:
            channel = self.layout.channels().get("pretrained")
            weights, source = pretrained.find(chosen.architecture, channel, self.settings.weights_dir)
            networks.load_backbone(network, chosen.architecture, weights, source)
        if chosen.freeze_backbone:
            networks.freeze_backbone(network, chosen.architecture)
        _check_input_size(network, chosen)
        return network

    def _source(self, split: Split, augmented: bool = False, cache: PixelCache | None = None) -> PictureSource:
        return PictureSource(
            split=split,
            preprocessing=Preprocessing(image_size=self.chosen.image_size),
            max_pixels=self.settings.max_pixels,
            threads=self.chosen.num_workers or self._threads(),
            seed=self.chosen.seed,
            augmentation=self.chosen.augmentation if augmented else "none",
            world=self.world,
            rejects=self.rejects,
            cache=cache or PixelCache(),
            decoded=self.hook.decoded,
        )

    def _fit(self, network: nn.Module, data: Dataset) -> Progress:
        """Train the network in place: all of it, or its head on features of the frozen rest."""
        cache = PixelCache(machine.free_memory() // (2 * self.world.local_size))  # the network wants memory too
        train: Source = self._source(data.train, augmented=True, cache=cache)
        validation: Source = self._source(data.validation, cache=cache)
        module: nn.Module = network
        set_mode: Callable[[], Any] = partial(networks.set_train_mode, network, self.chosen.freeze_backbone)
        if features.stand_in(self.chosen, network):
            logger.info("The backbone is frozen and the pictures do not change: its features are computed once.")
            module = networks.linear_head(network, self.chosen.architecture) or network
            set_mode = module.train
            with self._phase("features"):
                train, validation = self._features(network, data)
        else:
            logger.info("Up to %d MiB of decoded pictures are kept in memory.", cache.budget >> 20)
            if self.world.size > 1:
                batch_norm.synchronize(network)
        trainer = Trainer(
            module=module,
            train=train,
            validation=validation,
            class_counts=data.train.counts(),
            chosen=self.chosen,
            evaluator=self.evaluator,
            checkpoints=Checkpoints(self.layout.checkpoints, self.key),
            hook=self.hook,
            stop=self.stop,
            set_mode=set_mode,
            world=self.world,
            phase=self._phase,
            head=networks.head_parameters(network, self.chosen.architecture),
        )
        trainer.begin = partial(self._probe, network, data, trainer.loss)
        self.chronicle.note(
            **chronicle.of_module(module),
            architecture=self.chosen.architecture,
            batch_size=self.chosen.batch_size,
            steps_per_epoch=trainer.steps,
            epochs=self.chosen.epochs,
        )
        if self.world.is_main:
            self._write_facts()  # rules of stop_on read them
        return trainer.fit()

    def _probe(self, network: nn.Module, data: Dataset, loss: nn.Module) -> None:
        """Let the head learn alone before all weights do, where that was asked for."""
        head = networks.linear_head(network, self.chosen.architecture)
        wanted = self.chosen.probe_epochs and self.chosen.pretrained and not self.chosen.freeze_backbone
        if head is None or not wanted:
            return
        with self._phase("features"):
            source = replace(self._extract(network, data.train, "Features to probe"), world=ALONE)
        with self.chronicle.phase("probe"):  # all processes do the same; the main one's result counts
            learning = (probe.learn_head(head, source, loss, self.chosen, self.stop) for _ in range(1))
            head.load_state_dict(self.world.all_of(learning)[0])

    def _features(self, network: nn.Module, data: Dataset) -> tuple[Source, Source]:
        train = self._extract(network, data.train, "Features to train on", augmented=True)
        return train, self._extract(network, data.validation, "Features to validate")

    def _extract(self, network: nn.Module, split: Split, label: str, augmented: bool = False) -> FeatureSource:
        store = FeatureStore(self.layout.checkpoints / "features", self.layout.channels().get("features"))
        source = self._source(split, augmented)
        return features.extract(network, self.chosen.architecture, source, self.evaluator, label, store)

    def _fingerprint(self, data: Dataset) -> str:
        pictures = [(path.parent.name, path.name, path.stat().st_size) for path in data.train.paths]
        return fingerprint(chosen=self.chosen.model_dump(exclude=set(OBSERVING)), pictures=pictures)

    def _test(self, network: nn.Module, data: Dataset, temperature: float) -> Evaluation | None:
        """Measure the finished network on the test split, unless there is none or time is short."""
        if data.test is None or self.world.from_main(self.stop.requested):
            return None
        try:
            result = self.evaluator.evaluate(
                folded(network), self._source(data.test), len(data.classes), "Testing", temperature=temperature
            )
        except Stopped:
            logger.info("Stopped while testing: the model is saved without test metrics.")
            return None
        if self.world.is_main:
            results.say(result)
        return result

    def _save(self, network: nn.Module, data: Dataset, done: Progress, result: Evaluation | None) -> None:
        labels = results.save(self.layout, network, self.chosen, data.classes, done, result)
        if data.test and result:
            folder, limit = self.layout.output_data, self.settings.max_pixels
            paths = [path for path in data.test.paths if path not in self.rejects.found]
            predictions.write(folder, result.ranking, labels, paths, limit)


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _check_input_size(network: nn.Module, chosen: Hyperparameters) -> None:
    """Some architectures take one size only (ViT), or none below a limit (Inception)."""
    network.eval()
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, chosen.image_size, chosen.image_size))
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["refused"])[0].rstrip(".")
        raise UserError(
            f"architecture={chosen.architecture} does not take pictures of image_size={chosen.image_size} ({reason}); "
            "try image_size=224."
        ) from None
