"""Pictures in two splits."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.training import doubles

CONTENTS = st.lists(st.binary(max_size=2), max_size=8)


@settings(deadline=None)
@given(CONTENTS, CONTENTS)
def test_files_with_the_same_bytes_are_counted(
    tmp_path_factory: object, train: list[bytes], other: list[bytes]
) -> None:
    folder: Path = tmp_path_factory.mktemp("splits")  # type: ignore[attr-defined]

    def write(name: str, contents: list[bytes]) -> list[Path]:
        paths = [folder / f"{name}-{number}" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths

    found = doubles.count(write("train", train), write("other", other))
    assert found == sum(content in train for content in other)


def test_leakage_is_said_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    doubles.warn({"validation": 0, "test": 3})
    (message,) = caplog.messages
    assert message.startswith("Leakage: the very bytes of 3 test picture(s) are training pictures, too")
