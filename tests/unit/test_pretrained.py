"""Where pretrained weights come from, in which order, and what is said when there are none."""

import socket
import urllib.error
from pathlib import Path

import pytest
import torch

from image_classifier.errors import UserError
from image_classifier.training import pretrained

TINY = "shufflenet_v2_x0_5"


def put(folder: Path, name: str, value: float) -> Path:
    """A file of weights that says where it came from."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"mark": torch.tensor(value)}, folder / name)
    return folder / name


def mark(found: tuple[object, str]) -> float:
    return float(found[0]["mark"])  # type: ignore[index]


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No test touches a network: a download gives the weights 9."""
    urls: list[str] = []

    def fetch(url: str, **options: object) -> dict[str, torch.Tensor]:
        assert options["check_hash"] is True
        assert options["weights_only"] is True
        urls.append(url)
        return {"mark": torch.tensor(9.0)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    return urls


def test_the_channel_comes_before_the_image_and_the_image_before_the_download(
    tmp_path: Path, fetched: list[str]
) -> None:
    channel, baked = tmp_path / "channel", tmp_path / "baked"
    assert mark(pretrained.find(TINY, channel, baked)) == 9
    put(baked, f"{TINY}.pth", 2)
    assert mark(pretrained.find(TINY, channel, baked)) == 2
    path = put(channel, f"{TINY}.pth", 1)
    found = pretrained.find(TINY, channel, baked)
    assert (mark(found), found[1]) == (1, str(path))
    assert len(fetched) == 1


def test_each_outcome_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "channel").mkdir()
    pretrained.find(TINY, tmp_path / "channel", tmp_path / "baked")
    assert f"the `pretrained` channel: no weights of {TINY}" in caplog.text
    assert "the image: not there" in caplog.text
    assert "downloading https://" in caplog.text


@pytest.mark.parametrize(
    "name",
    [f"{TINY}.pth", f"{TINY}-f707e7126e.pth", f"{TINY}.a1.pt", "model.pth", "weights.pt", "sub/pytorch_model.pth"],
)
def test_a_file_of_the_right_name_is_taken(tmp_path: Path, name: str) -> None:
    put((tmp_path / name).parent, Path(name).name, 1)
    assert mark(pretrained.find(TINY, tmp_path, tmp_path / "baked")) == 1


@pytest.mark.parametrize(
    "name", ["shufflenet_v2_x0_55.pth", "resnet18.pth", f".{TINY}.pth", f"{TINY}.bin", "notes.pth"]
)
def test_a_file_of_another_name_is_not(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, 1)
    assert mark(pretrained.find(TINY, tmp_path, tmp_path / "baked")) == 9


def test_the_file_that_is_named_wins_over_others(tmp_path: Path) -> None:
    put(tmp_path, "resnet18.pth", 3)
    put(tmp_path, f"{TINY}.pth", 1)
    assert mark(pretrained.find(TINY, tmp_path, tmp_path / "baked")) == 1


def test_a_nameless_file_among_others_is_not_guessed_at(tmp_path: Path) -> None:
    put(tmp_path, "resnet18.pth", 3)
    put(tmp_path, "model.pth", 1)
    assert mark(pretrained.find(TINY, tmp_path, tmp_path / "baked")) == 9


def test_two_files_of_the_architecture_are_refused(tmp_path: Path) -> None:
    put(tmp_path, f"{TINY}.pth", 1)
    put(tmp_path, f"{TINY}-2.pth", 2)
    with pytest.raises(UserError, match="several weights"):
        pretrained.find(TINY, tmp_path, tmp_path / "baked")


def test_a_damaged_file_is_an_error_not_a_reason_to_download(tmp_path: Path, fetched: list[str]) -> None:
    (tmp_path / f"{TINY}.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=rf"{TINY}\.safetensors are damaged"):
        pretrained.find(TINY, tmp_path, tmp_path / "baked")
    assert not fetched


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution")),
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
        RuntimeError('invalid hash value (expected "f7", got "00")'),
        urllib.error.HTTPError("https://x", 403, "Forbidden", None, None),  # type: ignore[arg-type]
    ],
)
def test_weights_that_cannot_be_had_come_with_the_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_url: str, **_options: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(UserError) as caught:
        pretrained.find(TINY, None, tmp_path)
    message = str(caught.value)
    for words in ("a channel named `pretrained`", "docker/weights/", "torchvision's download", "pretrained=false"):
        assert words in message
    assert "download: failed (" in message


def test_a_download_does_not_hang_and_leaves_the_timeout_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []
    monkeypatch.setattr(
        torch.hub, "load_state_dict_from_url", lambda _url, **_options: seen.append(socket.getdefaulttimeout()) or {}
    )
    pretrained.find(TINY, None, tmp_path)
    assert seen == [pretrained.DOWNLOAD_TIMEOUT]
    assert socket.getdefaulttimeout() is None
