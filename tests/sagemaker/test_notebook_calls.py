"""What users of the SDK have in their notebooks works as it stands, and answers with the names of breeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

from desk_commands import IMAGE
from started import BUCKET, KEYS, ROLE, Api, running

from sample_pictures import make_pictures

BREEDS = {
    "001.Circle": "001.Affenpinscher",
    "002.Cross": "002.Afghan_hound",
    "003.Dots": "040.Bulldog",
    "004.Stripes": "057.Dalmatian",
    "005.Checkerboard": "076.Golden_retriever",
    "006.Ring": "124.Poodle",
}


def dogs(folder: Path) -> Path:
    """Pictures in folders that are named after breeds."""
    make_pictures(folder, {"train": 6, "valid": 2, "test": 2})
    for split in folder.iterdir():
        for drawn, breed in BREEDS.items():
            (split / drawn).rename(split / breed)
    return folder


def ask_as_users_do(api: Api, pictures: Path) -> str:
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": api.url, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    script = Path(__file__).with_name("notebook_calls.py")
    argv = [sys.executable, "-W", "ignore", str(script), str(pictures), IMAGE, ROLE, BUCKET]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_calls_of_a_notebook_end_with_breeds(tmp_path: Path) -> None:
    with running(tmp_path / "state") as api:
        lines = ask_as_users_do(api, dogs(tmp_path / "dogImages")).splitlines()
        found = next(json.loads(line) for line in lines if line.startswith('{"best"'))
        job = api.sagemaker.describe_training_job(TrainingJobName=found["best"])
        [measured] = [one for one in job["FinalMetricDataList"] if one["MetricName"] == "average test loss"]
        assert measured["Value"] > 0
        assert float(found["chosen"]["learning_rate"].strip('"')) <= 1e-2
    answer = json.loads(lines[-1])
    breeds = {folder.partition(".")[2] for folder in BREEDS.values()}
    assert len(answer["topk_labels"]) == 5
    assert set(answer["topk_labels"]) <= breeds | {breed.replace("_", " ") for breed in breeds}
