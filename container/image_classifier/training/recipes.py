"""Recipes: named sets of hyperparameters, each of which can be overruled.

`quick` learns a head on features of the frozen backbone. The others fine-tune: first the head alone (Kumar et al. 2022,
"Fine-Tuning can Distort Pretrained Features"), then all weights, the backbone's more slowly than the head's, on random
views. tests/benchmarks/training.md has their times and accuracies.
"""

from collections.abc import Mapping
from typing import Literal

Recipe = Literal["none", "quick", "balanced", "best"]
Values = Mapping[str, object]

_FINE_TUNED: Values = {
    "freeze_backbone": False,
    "probe_epochs": 10,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "backbone_learning_rate_factor": 0.3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
    "label_smoothing": 0.1,
    "augmentation": "standard",
    "ema_decay": 0.98,
}
RECIPES: Mapping[Recipe, Values] = {
    "none": {},
    "quick": {"freeze_backbone": True, "augmentation": "light", "epochs": 30, "learning_rate": 3e-3},
    "balanced": {**_FINE_TUNED, "epochs": 4},
    "best": {**_FINE_TUNED, "epochs": 12},
}
