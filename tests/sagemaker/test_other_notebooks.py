"""The calls of notebooks that were written for other images: their names, ranges and expressions, the SDK's functions.

One searches short names, with batches to choose from, by the loss of the test; the other the loss of the validation.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk_commands import IMAGE, QUICK, Desk
from PIL import Image
from started import BUCKET, REGION, ROLE, Api, wait
from test_notebook import BREEDS, dogs

from workflow.settings import Settings

pytestmark = pytest.mark.timeout(600)
STATIC = {name: QUICK[name] for name in ("architecture", "pretrained", "freeze_backbone", "image_size", "debug")}
NAMES = {folder.partition(".")[2].replace("_", " ") for folder in BREEDS.values()}


@dataclass(frozen=True)
class Notebook:
    """What a notebook searches; each range is the name of one of the SDK's classes and its arguments."""

    name: str
    ranges: dict[str, tuple[str, list[Any]]]
    metric: str
    expression: str
    early_stopping: str


SHORT_NAMES = Notebook(
    "short-names",
    {
        "lr": ("ContinuousParameter", [0.001, 0.1]),
        "batch-size": ("CategoricalParameter", [[64, 128]]),
        "epochs": ("IntegerParameter", [6, 10]),
    },
    "average test loss",
    r"Test set: Average loss: ([0-9\.]+)",
    "Off",
)
LOSS_OF_THE_VALIDATION = Notebook(
    "validation",
    {
        "lr": ("ContinuousParameter", [1e-4, 1e-2]),
        "batch_size": ("IntegerParameter", [8, 32]),
        "epochs": ("IntegerParameter", [3, 10]),
    },
    "val_loss",
    "val_loss=([0-9.+-eE]+);",
    "Auto",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dogs(tmp_path_factory.mktemp("pictures") / "dogImages")


@pytest.fixture
def sdk(real: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from workflow.account import session

    for name, value in Desk(real, tmp_path).variables.items():
        monkeypatch.setenv(name, value)
    return session(Settings(bucket=BUCKET, region=REGION))


def search(sdk: Any, notebook: Notebook, data: str) -> Any:
    """The notebook's tuning job, begun."""
    import sagemaker.tuner
    from sagemaker.estimator import Estimator

    estimator = Estimator(IMAGE, ROLE, 1, "ml.m5.large", hyperparameters=STATIC, sagemaker_session=sdk)
    tuner = sagemaker.tuner.HyperparameterTuner(
        estimator,
        notebook.metric,
        {name: getattr(sagemaker.tuner, kind)(*limits) for name, (kind, limits) in notebook.ranges.items()},
        [{"Name": notebook.metric, "Regex": notebook.expression}],
        max_jobs=2,
        max_parallel_jobs=2,
        objective_type="Minimize",
        early_stopping_type=notebook.early_stopping,
        base_tuning_job_name=notebook.name,  # the SDK adds the minute only
    )
    tuner.fit({"training": data}, wait=False)
    return tuner


def ended(api: Api, name: str) -> Any:
    """The record of a tuning job when it has ended well."""
    read = lambda: api.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)  # noqa: E731
    job = wait(read, lambda job: job["HyperParameterTuningJobStatus"] != "InProgress", 300)
    trials = api.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert job["HyperParameterTuningJobStatus"] == "Completed", trials["TrainingJobSummaries"]
    return job


@pytest.mark.parametrize("notebook", [SHORT_NAMES, LOSS_OF_THE_VALIDATION], ids=lambda made: made.name)
def test_what_the_notebook_searches_is_found_deployed_and_answers_with_breeds(
    real: Api, sdk: Any, pictures: Path, notebook: Notebook
) -> None:
    from sagemaker.serializers import IdentitySerializer

    tuner = search(sdk, notebook, sdk.upload_data(str(pictures), BUCKET, "dogImages"))
    name = tuner.latest_tuning_job.name
    best = ended(real, name)["BestTrainingJob"]
    assert set(best["TunedHyperParameters"]) == set(notebook.ranges)
    objective = best["FinalHyperParameterTuningJobObjectiveMetric"]
    assert objective["MetricName"] == notebook.metric
    lines = "\n".join(real.log_lines("/aws/sagemaker/TrainingJobs", best["TrainingJobName"]))
    assert f"{objective['Value']:.6g}" in lines  # what the image has said, and not another number
    predictor = tuner.best_estimator().deploy(
        1, "ml.m5.large", serializer=IdentitySerializer("image/jpeg"), endpoint_name=name, wait=False
    )
    status = lambda: real.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]  # noqa: E731
    assert wait(status, lambda now: now != "Creating", 300) == "InService"
    answer = json.loads(predictor.predict(jpeg(next((pictures / "test").rglob("*.png")))))
    assert len(answer["topk_labels"]) == len(answer["topk_probs"]) == 5
    assert set(answer["topk_labels"]) <= NAMES
    predictor.delete_endpoint()


def jpeg(file: Path) -> bytes:
    """A picture as notebooks read it from a folder of photographs."""
    stream = io.BytesIO()
    Image.open(file).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()
