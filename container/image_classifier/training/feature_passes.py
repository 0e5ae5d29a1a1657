"""A job's passes of the backbone over its pictures: once, in the place of every epoch; for a probe; for the test."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from image_classifier import networks
from image_classifier.training.dataset import Dataset
from image_classifier.training.engine import fastest
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.features import Extractor, views
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.pictures import Pictures
from image_classifier.training.sources import FeatureSource, PictureSource, Source


@dataclass
class FeaturePasses:
    """What all of them share, and the frozen backbone once features stand in for pictures."""

    chosen: Hyperparameters
    pictures: Pictures
    evaluator: Evaluator
    store: FeatureStore
    phase: Callable[..., AbstractContextManager[None]]
    _frozen: Extractor | None = None

    def stand_in(self, network: nn.Module, data: Dataset) -> tuple[Source, Source]:
        """Features to train on and to validate, in the place of pictures; the backbone stays as it is now."""
        pictures = self.pictures.of(data.train, augmented=True)
        self._frozen = extractor = self._extractor(network, pictures)
        with self.phase("features", views=views(pictures)):
            train = extractor.extract(pictures, "Features to train on")
        with self.phase("features"):
            validation = self.pictures.of(data.validation, cached=True)  # compiled variants are measured on it
            return train, extractor.extract(validation, "Features to validate")

    def to_probe(self, network: nn.Module, data: Dataset) -> FeatureSource:
        """Features of the plain views, of the network as it is now."""
        pictures = self.pictures.of(data.train)
        with self.phase("features"):
            return self._extractor(network, pictures).extract(pictures, "Features to probe")

    def to_test(self, network: nn.Module, pictures: PictureSource) -> tuple[nn.Module, Source]:
        """The finished network in its fastest form, and what to run it on."""
        head = networks.linear_head(network, self.chosen.architecture)
        if self._frozen and head:
            return head, self._frozen.extract(pictures, "Features to test")
        return fastest(network, self.chosen.image_size, len(pictures), self.evaluator.device), pictures

    def _extractor(self, network: nn.Module, train: PictureSource) -> Extractor:
        count = len(train) * views(train)
        return Extractor(network, self.chosen.architecture, self.evaluator, count, self.store)
