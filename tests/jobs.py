"""A training job in this process, for tests: its channels, its hyperparameters, its model."""

from pathlib import Path

from image_classifier.contract import Layout, Settings
from image_classifier.training import hyperparameters
from image_classifier.training.job import Job
from image_classifier.training.stopping import Stop

COMMON = {"epochs": "2", "batch_size": "4", "image_size": "32", "learning_rate": "0.01"}


def run(base: Path, data: Path, weights: Path, chosen: dict[str, str], stop: Stop | None = None) -> Path:
    """Run a job in its base directory; gives the model directory."""
    (base / "input" / "data").mkdir(parents=True, exist_ok=True)
    channel = base / "input" / "data" / "training"
    if not channel.exists():
        channel.symlink_to(data)
    settings = Settings.from_environment({"CLASSIFIER_WEIGHTS_DIR": str(weights)})
    Job(Layout(base), settings, hyperparameters.parse({**COMMON, **chosen}), stop or Stop()).run()
    return base / "model"
