"""Reading what smdebug wrote: names, modes, raw tensors and summaries, decoded as smdebug itself does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from image_classifier.errors import UserError
from image_classifier.insight import files
from image_classifier.insight.names import Names
from image_classifier.insight.tfevents import decode
from image_classifier.insight.trial import Trial
from written import Job, noise, summary

TYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8])


def written(value: Any, folder: Path) -> bytes:
    """The record that smdebug writes for a tensor."""
    Job(folder).step({"a/b": value})
    return next((folder / "tensors").glob("events/*/*")).read_bytes()


@settings(deadline=None, max_examples=40)
@given(kind=TYPES, data=st.data())
def test_a_tensor_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, kind: Any, data: Any) -> None:
    value = data.draw(arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4)))
    back = decode(written(value, tmp_path_factory.mktemp("job")))
    assert back.dtype.itemsize == value.dtype.itemsize
    np.testing.assert_array_equal(back, value)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_damaged_records_are_a_value_error(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|size|shape|buffer"):
        decode(record)


@pytest.mark.parametrize(
    ("name", "kind", "subject"),
    [
        ("ResNet_conv1.weight", "weight", "conv1.weight"),
        ("ResNet_layer1.0.bn1.bias", "weight", "layer1.0.bn1.bias"),
        ("gradient/ResNet_fc.bias", "gradient", "fc.bias"),
        ("CrossEntropyLoss_output_0", "loss", "CrossEntropyLoss_output_0"),
        ("CrossEntropyLoss_input_0", "prediction", "CrossEntropyLoss_input_0"),
        ("CrossEntropyLoss_input_1", "label", "CrossEntropyLoss_input_1"),
        ("layer1.0.relu_output_0", "relu_output", "layer1.0.relu"),
        ("layer1.0.relu_input_1", "relu_input", "layer1.0.relu"),
        ("ResNet_input_0", "input", "ResNet_input_0"),
        ("statistics/update/layer1.0.conv1.weight", "statistics/update", "layer1.0.conv1.weight"),
        ("statistics/activity/layer1.0.relu_1", "statistics/activity", "layer1.0.relu_1"),
        ("something", "", "something"),
    ],
)
def test_names_say_what_a_tensor_is(name: str, kind: str, subject: str) -> None:
    assert Names("ResNet").kind(name) == (kind, subject)
    assert Names().kind(name) == (kind, subject)


def test_a_collection_says_what_a_name_does_not(tmp_path: Path) -> None:
    file = tmp_path / "collections/000000000/worker_0_collections.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"collections": {"relu_output": {"tensor_names": ["features.0.2"]}}}))
    names = Names()
    names.read_collections(tmp_path)
    assert names.kind("features.0.2")[0] == "relu_output"


def test_raw_tensors_and_summaries_give_the_same_numbers(tmp_path: Path) -> None:
    value = noise(5, 4)
    raw = Trial(Job(tmp_path / "raw").step({"Net_fc.weight": value}).folder / "tensors")
    light = Trial(Job(tmp_path / "light").step({"statistics/weight/fc.weight": summary(value)}).folder / "tensors")
    assert raw.summaries("weight") == light.summaries("weight")
    assert raw.summaries("weight")[0].l2 == pytest.approx(float(np.linalg.norm(value)), rel=1e-5)


def test_updates_are_made_of_the_weights_of_two_steps(tmp_path: Path) -> None:
    job = Job(tmp_path).steps({"Net_fc.weight": np.full(4, 2.0)}, {}, {"Net_fc.weight": np.full(4, 2.2)})
    (update,) = Trial(job.folder / "tensors").summaries("update")
    assert update.mean == pytest.approx(0.05)  # of 10 % in two steps


def test_a_growing_directory_is_read_on(tmp_path: Path) -> None:
    job = Job(tmp_path).step({"CrossEntropyLoss_output_0": np.float32(2)})
    trial = Trial(tmp_path / "tensors")
    job.step({"CrossEntropyLoss_output_0": np.float32(1)}).step(
        {"CrossEntropyLoss_output_0": np.float32(3)}, mode="EVAL"
    )
    trial.refresh()
    assert (trial.losses(), trial.losses("EVAL")) == ([(0, 2.0), (1, 1.0)], [(2, 3.0)])
    assert trial.steps(None) == [0, 1, 2]


def test_an_index_that_is_being_written_is_read_later(tmp_path: Path) -> None:
    job = Job(tmp_path).step({"CrossEntropyLoss_output_0": np.float32(2)})
    index = next((job.folder / "tensors/index").glob("*/*.json"))
    whole = index.read_text()
    index.write_text(whole[:30])
    trial = Trial(tmp_path / "tensors")
    assert trial.losses() == []
    index.write_text(whole)
    trial.refresh()
    assert trial.losses() == [(0, 2.0)]


@pytest.mark.parametrize(
    ("tensors", "start"),
    [
        ("output/tensors", ""),
        ("output/tensors", "output"),
        ("output/data/debug/tensors", "output"),
        ("debug/tensors", ""),
        ("debug-output", ""),
        ("", ""),
    ],
)
def test_tensors_are_found_wherever_a_job_or_a_download_puts_them(tmp_path: Path, tensors: str, start: str) -> None:
    (tmp_path / tensors / "index").mkdir(parents=True)
    assert files.find(tmp_path / start).tensors == tmp_path / tensors


def test_all_parts_of_a_download_are_found(tmp_path: Path) -> None:
    for part in ("debug-output/index", "profiler-output/system", "output/data"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "output/data/history.csv").touch()
    found = files.find(tmp_path)
    assert (found.system, found.data) == (tmp_path / "profiler-output", tmp_path / "output/data")


def test_samples_of_the_host_and_events_of_the_job_may_lie_apart(tmp_path: Path) -> None:
    """On SageMaker the agent's samples go to the bucket, and the events stay in output.tar.gz."""
    for part in ("profiler-output/system", "output/data/debug/profiler/framework"):
        (tmp_path / part).mkdir(parents=True)
    found = files.find(tmp_path)
    assert found.system == tmp_path / "profiler-output"
    assert found.framework == tmp_path / "output/data/debug/profiler"


def test_a_directory_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        files.find(tmp_path / "nowhere")
