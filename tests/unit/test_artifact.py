"""The artifact: what `train` writes is what `serve` reads, and nothing else is opened."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from image_classifier import artifact, networks
from image_classifier.config import Config, readable_labels
from image_classifier.errors import UserError
from image_classifier.images import Preprocessing

TINY = "shufflenet_v2_x0_5"
CONFIG = Config(
    architecture=TINY,
    classes=("01.amber", "02.blue", "03.dark_grey"),
    preprocessing=Preprocessing(image_size=48, crop_ratio=0.9),
    metrics={"val_accuracy": 0.75},
    hyperparameters={"epochs": 3, "optimizer": "sgd"},
    versions=artifact.versions(),
)


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return networks.build(TINY, 3)


@pytest.fixture
def folder(tmp_path: Path, network: torch.nn.Module) -> Path:
    artifact.save(tmp_path / "model", network, CONFIG)
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        artifact.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_round_trip_is_bit_identical(folder: Path, network: torch.nn.Module) -> None:
    loaded, config = artifact.load(folder)
    assert config == CONFIG
    assert not loaded.training
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_the_artifact_holds_what_is_documented_and_no_leftovers(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "labels.json", "metrics.json", "model.safetensors"]
    assert json.loads((folder / "labels.json").read_text(encoding="utf-8")) == ["amber", "blue", "dark grey"]
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == {"val_accuracy": 0.75}


def test_saving_again_replaces_the_model(folder: Path) -> None:
    other = networks.build(TINY, 3)
    artifact.save(folder, other, CONFIG)
    assert torch.equal(artifact.load(folder)[0].fc.weight, other.fc.weight)


def test_a_crash_while_writing_leaves_the_older_model(
    folder: Path, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_tensors: object, path: Path, metadata: object = None) -> None:
        path.write_bytes(b"half a model")
        raise OSError("power cut")

    monkeypatch.setattr(artifact, "save_file", half)
    with pytest.raises(OSError, match="power cut"):
        artifact.save(folder, networks.build(TINY, 3), CONFIG)
    assert torch.equal(artifact.load(folder)[0].fc.weight, network.fc.weight)


def test_the_model_card_tells_the_network_its_classes_and_its_metrics(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in (f"# {TINY}, 3 classes", "48 x 48 pixels", "amber, blue, dark grey.", "| val_accuracy | 0.7500 |"):
        assert words in card
    assert f"torch {torch.__version__}" in card


def test_the_model_card_of_many_classes_names_five() -> None:
    many = CONFIG.model_copy(update={"classes": tuple(f"class{n}" for n in range(9))})
    assert "class0, class1, class2, class3, class4, …." in artifact._model_card(many)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("001.Golden_retriever", "002.Boxer"), ("Golden retriever", "Boxer")),
        (("1-cat", "2 dog", "3_cow"), ("cat", "dog", "cow")),
        (("cat", "dog"), ("cat", "dog")),
        (("1.cat", "2.cat"), ("1.cat", "2.cat")),
        (("a_b", "a b"), ("a_b", "a b")),
        (("0", "1"), ("0", "1")),
        (("01.", "02.b"), ("01.", "02.b")),
        (("2cv", "911"), ("2cv", "911")),
        (("Ökonom", "日本"), ("Ökonom", "日本")),
    ],
)
def test_labels_are_readable_and_stay_different(classes: tuple[str, ...], labels: tuple[str, ...]) -> None:
    assert readable_labels(classes) == labels


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    assert f"No model in {tmp_path} (found: nothing)" in refusal(tmp_path)


def test_a_missing_directory_is_no_model(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "model")


def test_a_packed_model_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"x")
    message = refusal(tmp_path)
    assert "found: model.tar.gz" in message
    assert "unpack model.tar.gz" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "decode"),
        (
            b'{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}',
            "architecture: Field required",
        ),
        (b'{"architecture": "resnet19", "classes": ["a", "b"], "preprocessing": {}}', "did you mean"),
        (b'{"architecture": "resnet18", "classes": "ab", "preprocessing": {}}', "classes"),
        (b'{"architecture": "resnet18", "classes": ["a"], "preprocessing": {"image_size": 0}}', "image_size"),
    ],
)
def test_a_configuration_that_is_not_ours_is_named_with_the_reason(folder: Path, content: bytes, reason: str) -> None:
    (folder / "config.json").write_bytes(content)
    message = refusal(folder)
    assert str(folder / "config.json") in message
    assert reason in message


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"text, not tensors", b"\xff" * 8 + b"{"])
def test_damaged_weights_are_named(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert f"The weights {folder / 'model.safetensors'} are damaged" in refusal(folder)


def test_cut_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"The weights {path} are damaged" in refusal(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == f"The weights {folder / 'model.safetensors'} do not exist."


def test_weights_of_another_number_of_classes_are_refused(folder: Path) -> None:
    weights = {name: value.contiguous() for name, value in networks.build(TINY, 4).state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    assert f"The weights in {folder} do not fit {TINY} with 3 classes" in refusal(folder)


class Evil:
    """A pickle that would write a file when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    content = {"fc.weight": Evil(str(tmp_path / "broken_in"))}
    path = tmp_path / "model.pth"
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert str(path) in refusal(tmp_path)
    assert not (tmp_path / "broken_in").exists()


def test_a_whole_pickled_network_is_refused_with_what_to_do(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.save(network, tmp_path / "model.pth")
    message = refusal(tmp_path)
    assert "save its state_dict() instead" in message
    assert str(tmp_path / "model.pth") in message


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, torch.zeros(2)])
def test_what_is_no_state_dictionary_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    assert "does not hold a state dictionary" in refusal(tmp_path)


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    torch.save(networks.build("resnet18", 3).state_dict(), tmp_path / "model.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat", "dog", "cow"], ("cat", "dog", "cow")),
        ({"2": "cow", "0": "cat", "1": "dog"}, ("cat", "dog", "cow")),
        (None, ("0", "1", "2")),
    ],
)
def test_a_plain_model_pth_is_recognised(legacy: Path, labels: object, classes: tuple[str, ...]) -> None:
    if labels:
        (legacy / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    network, config = artifact.load(legacy)
    assert (config.architecture, config.labels) == ("resnet18", classes)
    assert torch.equal(network.state_dict()["fc.weight"], torch.load(legacy / "model.pth")["fc.weight"])


@pytest.mark.parametrize("content", ['["cat", "dog"]', '["a", "b", "c", "d"]', "{", '{"cat": 0}', "3", "null"])
def test_labels_that_do_not_fit_a_plain_model_are_named(legacy: Path, content: str) -> None:
    (legacy / "labels.json").write_text(content, encoding="utf-8")
    assert str(legacy / "labels.json") in refusal(legacy)


def test_a_plain_model_of_another_kind_asks_for_a_configuration(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "model.pth")
    assert "add a config.json that names the architecture" in refusal(tmp_path)


def test_a_configuration_beside_a_plain_model_is_believed(folder: Path, network: torch.nn.Module) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "model.pth")
    assert torch.equal(artifact.load(folder)[0].fc.weight, network.fc.weight)
