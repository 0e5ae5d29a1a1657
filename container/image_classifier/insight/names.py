"""What a tensor is, by its name or by the collection that smdebug put it into."""

import json
import re
from pathlib import Path

# How smdebug, and hooks built on it, name what they save; the first pattern that matches says the kind.
_NAMES = (
    (r"^statistics/(\w+)/(.+)$", None),
    (r"^gradient/(.+)$", "gradient"),
    (r"^(labels?|targets?)(?:$|[/_]\w*$)", "label"),
    (r"Loss_input_1$", "label"),
    (r"^(predictions?|logits|probabilities)(?:$|[/_]\w*$)", "prediction"),
    (r"Loss_input_0$", "prediction"),
    (r"^(?:\w*Loss_output_\d+|loss(?:$|[/_]\w*$))", "loss"),
    (r"^(inputs?|images?)(?:$|[/_]\w*$)", "input"),
    (r"^[^.]*_input_0$", "input"),
    (r"^(.*(?:relu|act\w*)\d*)_input_\d+$", "relu_input"),
    (r"^(.*(?:relu|act\w*)\d*)_output_\d+$", "relu_output"),
    (r"^(.+)_output_\d+$", "output"),
    (r"^(.+\.)?(weight|bias)$", "weight"),
)
_OWNED = ("gradient", "relu_input", "relu_output", "output")  # the first group is whose tensor it is
_COLLECTIONS = {
    "losses": "loss",
    "labels": "label",
    "label": "label",
    "predictions": "prediction",
    "input": "input",
    "inputs": "input",
    "relu_input": "relu_input",
    "relu_output": "relu_output",
    "weights": "weight",
    "biases": "weight",
    "gradients": "gradient",
}


class Names:
    """Kind and subject of each tensor.

    Args:
        module: class name of the trained module, which smdebug puts before the names of its parameters.
    """

    def __init__(self, module: str = "") -> None:
        self._module = module
        self._known: dict[str, tuple[str, str]] = {}
        self._collections: dict[str, str] = {}

    def read_collections(self, folder: Path) -> None:
        """Take in the collections that smdebug exported beside its tensors."""
        for path in sorted(folder.glob("collections/*/*_collections.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it is being written
            for key, collection in content.get("collections", {}).items():
                if key in _COLLECTIONS:
                    self._collections |= dict.fromkeys(collection.get("tensor_names") or (), _COLLECTIONS[key])

    def kind(self, name: str) -> tuple[str, str]:
        """Kind and subject: `gradient/ResNet_fc.bias` is the gradient of `fc.bias`; an unknown kind is empty."""
        if name not in self._known:
            self._known[name] = self._recognise(name)
        return self._known[name]

    def _recognise(self, name: str) -> tuple[str, str]:
        for pattern, kind in _NAMES:
            match = re.search(pattern, name)
            if match and kind is None:
                return f"statistics/{match[1]}", self._subject(match[2])
            if match and kind is not None:
                own = match[1] if kind in _OWNED else name
                return kind, self._subject(own) if kind in ("weight", "gradient") else own
        return self._collections.get(name, ""), name

    def _subject(self, name: str) -> str:
        prefix = f"{self._module}_"
        if self._module and name.startswith(prefix):
            return name[len(prefix) :]
        return re.sub(r"^[A-Z][A-Za-z0-9]*_(?=.)", "", name)
