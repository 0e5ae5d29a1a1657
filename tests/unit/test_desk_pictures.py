"""The desk takes the folders that the image's `train` takes, and refuses those that it would refuse."""

import io
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from desk import DeskError
from image_classifier.errors import UserError
from image_classifier.training import dataset
from workflow import pictures

# One name for each split: two of them are refused here, and in the image the first wins.
_SPLITS = st.fixed_dictionaries({split: st.sampled_from(names) for split, names in pictures.SPLITS.items()})
_CLASSES = st.dictionaries(st.sampled_from(["ant", "bee", "cow"]), st.sampled_from([1, 2]), min_size=1)
_FILES = st.fixed_dictionaries({"train": _CLASSES}, optional={"validation": _CLASSES, "test": _CLASSES})


def _lay_out(folder: Path, names: dict[str, str], counts: dict[str, dict[str, int]]) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    for split, classes in counts.items():
        for name, count in classes.items():
            for place in ("1.png", "deep/2.png")[:count]:
                file = folder / names[split] / name / place
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(stream.getvalue())


def test_splits_and_kinds_of_pictures_are_the_images() -> None:
    assert pictures.SPLITS == dataset.SPLITS
    assert pictures.SUFFIXES == dataset.SUFFIXES


@given(_SPLITS, _FILES)
def test_a_folder_is_refused_when_train_would_refuse_it(
    names: dict[str, str], counts: dict[str, dict[str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _lay_out(folder, names, counts)
        try:
            found = dataset.find({"training": folder}, 0.2, 0)
        except UserError:
            found = None
        try:
            looked = pictures.look(folder)
        except DeskError:
            looked = None
        assert (looked is None) == (found is None)
        if looked and found:
            assert looked.classes == list(found.classes)
            read = [*found.train.paths, *found.validation.paths, *(found.test.paths if found.test else [])]
            assert {folder / file for file in looked.files} == set(read)
