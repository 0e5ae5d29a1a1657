"""Decoded pictures kept in memory between epochs, as far as it goes; what does not fit is decoded each time."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass
class PixelCache:
    """RGB pictures as uint8 [height, width, 3]. Decoding threads share it."""

    budget: int = 0  # bytes; 0 keeps nothing
    used: int = 0
    _kept: dict[Hashable, NDArray[np.uint8]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, key: Hashable, make: Callable[[], Image.Image]) -> Image.Image:
        """The picture kept under a key, or else the one that is made, which is then kept if there is room."""
        kept = self._kept.get(key)
        if kept is not None:
            return Image.fromarray(kept)
        image = make()
        size = 3 * image.width * image.height
        with self._lock:
            fits = key not in self._kept and self.used + size <= self.budget
            self.used += size if fits else 0
        if fits:
            self._kept[key] = np.asarray(image)
        return image
