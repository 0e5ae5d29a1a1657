"""SageMaker's layout and environment."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from image_classifier.contract import Layout, Settings
from image_classifier.errors import UserError


def test_an_empty_environment_gives_sagemakers_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.base_dir == Path("/opt/ml")
    assert (settings.port, settings.workers, settings.max_payload_mb) == (8080, None, 6)
    assert settings.use_smdebug


def test_variables_are_read_by_their_names() -> None:
    settings = Settings.from_environment(
        {
            "SAGEMAKER_BASE_DIR": "/somewhere",
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "CLASSIFIER_TOP_K": "2",
            "UNRELATED": "x",
        }
    )
    assert settings.base_dir == Path("/somewhere")
    assert (settings.port, settings.workers, settings.top_k) == (9000, 3, 2)


@pytest.mark.parametrize(
    ("environ", "records"),
    [({}, 1000), ({"SAGEMAKER_BATCH": "true"}, 100_000), ({"SAGEMAKER_BATCH": "1", "CLASSIFIER_MAX_RECORDS": "7"}, 7)],
)
def test_a_batch_transform_may_send_more_records_unless_told_otherwise(environ: dict[str, str], records: int) -> None:
    assert Settings.from_environment(environ).max_records == records


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "off"])
def test_the_debugger_can_be_switched_off(word: str) -> None:
    assert not Settings.from_environment({"USE_SMDEBUG": word}).use_smdebug


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"SAGEMAKER_BIND_TO_PORT": ""}).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "eighty"),
        ("SAGEMAKER_BIND_TO_PORT", "0"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "-1"),
        ("SAGEMAKER_MULTI_MODEL", "perhaps"),
        ("CLASSIFIER_MAX_PIXELS", "0"),
    ],
)
def test_a_bad_variable_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(UserError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value).startswith(f"Environment variable {name}={value!r} cannot be used: ")
    assert "\n" not in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings.from_environment({}).port = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert all(field.alias and field.description for field in Settings.model_fields.values())


def test_the_layout_is_sagemakers() -> None:
    layout = Layout(Path("/opt/ml"))
    assert str(layout.config) == "/opt/ml/input/config"
    assert str(layout.model) == "/opt/ml/model"
    assert str(layout.output_data) == "/opt/ml/output/data"
    assert str(layout.failure) == "/opt/ml/output/failure"
    assert str(layout.checkpoints) == "/opt/ml/checkpoints"


def test_the_platform_can_move_the_checkpoints(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.config.mkdir(parents=True)
    (layout.config / "checkpointconfig.json").write_text(json.dumps({"S3Uri": "s3://b/c", "LocalPath": "/elsewhere"}))
    assert layout.checkpoints == Path("/elsewhere")


def test_channels_are_the_folders_that_exist(tmp_path: Path) -> None:
    assert Layout(tmp_path).channels() == {}
    data = tmp_path / "input" / "data"
    for name in ("train", "test"):
        (data / name).mkdir(parents=True)
    (data / "train-manifest").write_text("a file beside the channels")
    assert Layout(tmp_path).channels() == {"test": data / "test", "train": data / "train"}


def test_an_absent_configuration_is_empty(tmp_path: Path) -> None:
    assert Layout(tmp_path).read_config("hyperparameters.json") == {}


@pytest.mark.parametrize("content", ["{", "", "[1]", '"text"', "null", "\ufeff{}"])
def test_a_broken_configuration_is_named(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path)
    layout.config.mkdir(parents=True)
    (layout.config / "hyperparameters.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"hyperparameters\.json .*JSON") as caught:
        layout.read_config("hyperparameters.json")
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_not_text_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.config.mkdir(parents=True)
    (layout.config / "hyperparameters.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"hyperparameters\.json"):
        layout.read_config("hyperparameters.json")
