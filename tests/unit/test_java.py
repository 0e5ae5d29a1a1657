"""How Java is started: what of the environment reaches it."""

from pathlib import Path

import pytest

from image_classifier.contract import Settings
from image_classifier.serving import java, sizing

COPIED = {  # from another image, where multi-model-server is the front door
    "MMS_INFERENCE_ADDRESS": "http://0.0.0.0:8080",
    "MMS_CONFIG_FILE": "/etc/sagemaker-mms.properties",
    "MMS_MAX_REQUEST_SIZE": "100000000",
}


def test_variables_of_its_own_do_not_reach_it_and_are_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**COPIED, "MMS_NUMBER_OF_NETTY_THREADS": "5", "MMS_JOB_QUEUE_SIZE": "7", "OTHER": "kept"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    sizes = sizing.compute(settings, tmp_path)
    seen = java.environment(tmp_path, sizes)
    assert not [name for name in seen if name.startswith("MMS_")]
    assert seen["OTHER"] == "kept"
    lines = java.properties(tmp_path, settings, sizes).splitlines()
    assert "number_of_netty_threads=5" in lines  # what is documented is obeyed
    assert f"inference_address=unix:{tmp_path}/inference.sock" in lines
    (told,) = java.ignored()
    assert told.startswith("Ignored: MMS_CONFIG_FILE, MMS_INFERENCE_ADDRESS, MMS_MAX_REQUEST_SIZE; ")


def test_nothing_is_said_where_nothing_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMS_BATCH_SIZE", "4")
    assert java.ignored() == []
