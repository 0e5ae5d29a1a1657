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
from image_classifier.insight import hook
from image_classifier.training import (
    batch_norm,
    chronicle,
    compiling,
    dataset,
    doubles,
    features,
    predictions,
    pretrained,
    probe,
    results,
)
from image_classifier.training.checkpoint import Checkpoints, digest, fingerprint
from image_classifier.training.chronicle import Chronicle
from image_classifier.training.costs import BACKWARD, Costs, forward_flops, matrix_peak
from image_classifier.training.dataset import Dataset
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.evaluation import Evaluation, Evaluator
from image_classifier.training.feature_passes import FeaturePasses
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.halving import note_halves
from image_classifier.training.hyperparameters import OBSERVING, Hyperparameters
from image_classifier.training.loop import Trainer
from image_classifier.training.pictures import Pictures, decoders
from image_classifier.training.precision import Precision
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import Source
from image_classifier.training.state import Progress
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
        on_sagemaker = bool(self.settings.training_job_name)
        wanted = self.settings.use_smdebug and self.world.is_main
        self.hook = hook.create(self.layout, self.chosen.wishes(), wanted, on_sagemaker)
        self.chronicle = Chronicle(Costs(self.hook.decoded))

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
                self._write_facts()  # the report reads them
                self._conclude()
                self._write_facts()
        if self.world.is_main:
            results.say_costs(self.layout.model, self._costs())

    def _run(self) -> None:
        channels = self.layout.read_config("inputdataconfig.json")
        dataset.check_modes(channels)
        with self.chronicle.phase("reading"):
            data = dataset.find(self.layout.channels(), self.chosen.validation_fraction, self.chosen.seed)
        logger.info(data.describe())
        self.rejects = Rejects(self.chosen.max_bad_pictures, data.smallest(), data.needed())
        facts = chronicle.of_data(data)
        doubles.warn(facts["duplicates"], facts["test_in_validation"])
        self.chronicle.note(**facts)
        seen = fingerprint(train=data.train.files(), validation=data.validation.files())
        dataset.check_same(self.world.gather((seen, data.describe())))
        machine.keep_freed_memory()
        torch.set_num_threads(self._threads())
        costs, limit = self.chronicle.costs, self.settings.max_pixels
        threads = decoders(self.chosen, self._threads(), dataset.streams(channels))
        self.pictures = Pictures(self.chosen, limit, threads, self.world, self.rejects, costs)
        device = self.world.device
        logger.info("Device: %s, %d cores.", device, self._threads())
        self.chronicle.note(device=_describe(device), cores=self._threads())
        self.evaluator = Evaluator(device, _EVALUATION_BATCH[device.type], self.stop, self.world)
        channel, baked = self.layout.channels().get("pretrained"), self.settings.weights_dir
        network = pretrained.make_network(self.chosen, len(data.classes), channel, baked)
        self.key = self._fingerprint(network, seen)
        self.flops = forward_flops(network, self.chosen.architecture, self.chosen.image_size)
        store = FeatureStore(self.layout.checkpoints / "features", self.layout.channels().get("features"))
        if self.world.is_main:
            store.tidy()
        self.passes = FeaturePasses(self.chosen, self.pictures, self.evaluator, store, self._phase)
        done = self._fit(network.to(device), data)
        with self._phase("test"):
            result = self._test(network, data, done.temperature)
        if self.world.is_main:
            with self.chronicle.phase("saving"):
                self._save(network, data, done, result)
            self._compile(data)

    def _compile(self, data: Dataset) -> None:
        """Give the artifact its compiled variants for CPUs, where they are wanted, and on a GPU a note on GPUs."""
        if self.chosen.compile == "off" or self.stop.requested:
            return
        with self.chronicle.phase("compiling"):
            sources = (self.pictures.of(split, cached=True) for split in (data.train, data.validation))
            train, validation = (replace(source, world=ALONE) for source in sources)
            compiling.compile_artifact(self.layout.model, train, validation, self.stop)
            if self.world.device.type == "cuda":
                note_halves(self.layout.model, validation, self.stop, self.world.device)

    def _threads(self) -> int:
        return max(1, machine.cores() // self.world.local_size)

    @contextmanager
    def _phase(self, name: str, views: int = 1) -> Iterator[None]:
        """Around a pass over pictures, at whose end all processes know which of them are damaged."""
        learns = name == "epoch" and not self.chosen.freeze_backbone
        with self.chronicle.phase(name, views + BACKWARD * learns):
            yield
        self.rejects.share(self.world)
        self.chronicle.note(left_out=self.rejects.named())

    def _conclude(self) -> None:
        if self.chosen.debug == "off" or self.stop.requested:
            return
        from image_classifier.insight import conclusion  # readers of tensors and templates, wanted only at the end

        with self.chronicle.phase("report"):
            conclusion.conclude(self.layout.output, self.layout.output_data)

    def _write_facts(self) -> None:
        """Write `run.json`; a job does not fail for want of it."""
        self.chronicle.note(hyperparameters=self.chosen.model_dump(), versions=artifact.versions())
        try:
            self.chronicle.write(self.layout.output_data)
        except Exception as error:
            logger.warning("run.json is not written (%s: %s).", type(error).__name__, error)

    def _fit(self, network: nn.Module, data: Dataset) -> Progress:
        """Train the network in place: all of it, or its head on features of the frozen rest."""
        train: Source = self.pictures.of(data.train, augmented=True, cached=True)
        validation: Source = self.pictures.of(data.validation, cached=True)
        module: nn.Module = network
        set_mode: Callable[[], Any] = partial(networks.set_train_mode, network, self.chosen.freeze_backbone)
        if features.stand_in(self.chosen, network):
            logger.info("The backbone is frozen and the pictures do not change: its features are computed once.")
            module = networks.linear_head(network, self.chosen.architecture) or network
            set_mode = module.train
            train, validation = self.passes.stand_in(network, data)
        else:
            logger.info("Up to %d MiB of decoded pictures are kept in memory.", self.pictures.cache.budget >> 20)
            if self.world.size > 1:
                batch_norm.synchronize(network)
        trainer = Trainer(
            module=module,
            train=train,
            validation=validation,
            class_counts=data.train.counts(),
            chosen=self.chosen,
            evaluator=self.evaluator,
            checkpoints=Checkpoints(self.layout.checkpoints, self.key, self.chosen.keep_checkpoints),
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
        source = self.passes.to_probe(network, data)
        with self.chronicle.phase("probe"):  # all processes do the same; the main one's result counts
            alone = replace(source, world=ALONE)
            learning = (probe.learn_head(head, alone, loss, self.chosen, self.stop) for _ in range(1))
            head.load_state_dict(self.world.all_of(learning)[0])

    def _fingerprint(self, network: nn.Module, pictures: str) -> str:
        """Of all that decides what is learnt; what is random follows from the seed."""
        weights = digest(networks.backbone_state(network, self.chosen.architecture)) if self.chosen.pretrained else ""
        return fingerprint(chosen=self.chosen.model_dump(exclude=set(OBSERVING)), pictures=pictures, weights=weights)

    def _test(self, network: nn.Module, data: Dataset, temperature: float) -> Evaluation | None:
        """Measure the finished network on the test split, unless there is none or time is short."""
        if data.test is None or self.world.from_main(self.stop.requested):
            return None
        try:
            module, source = self.passes.to_test(network, self.pictures.of(data.test))
            result = self.evaluator.evaluate(module, source, len(data.classes), "Testing", temperature=temperature)
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

    def _costs(self) -> dict[str, float]:
        """What the job has cost, for its last line."""
        dtype = Precision.choose(self.chosen.precision, self.world.device).dtype or torch.float32
        peak = matrix_peak(self.world.device, dtype)
        logger.info("Costs (the machine's matrix products reach %.1f GFLOP/s):", peak / 1e9)
        return self.chronicle.costs.summary(self.flops, peak, self.world.size)


def _describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
