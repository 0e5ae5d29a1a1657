"""SageMaker's SDK 3 takes the same road: its example trains, tunes, deploys, predicts and leaves nothing behind."""

import os
import subprocess
from pathlib import Path

import pytest
from desk_commands import IMAGE, QUICK, weights
from started import BUCKET, KEYS, REGION, ROLE, running

import ways
from sample_pictures import CLASSES, make_pictures

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"
PYTHON = ways.ROOT / ".venv-v3" / "bin" / "python"
EXAMPLE = ways.ROOT / "scripts" / "sdk_v3" / "train_and_serve.py"


@pytest.mark.timeout(600)
@pytest.mark.skipif(not PYTHON.exists(), reason="there is no .venv-v3 with SageMaker's SDK 3; `make v3` makes it")
def test_the_walk_with_sdk_3(tmp_path: Path) -> None:
    make_pictures(tmp_path / "data", {"train": 6, "valid": 2, "test": 2})
    own = {
        "ROLE": ROLE,
        "BUCKET": BUCKET,
        "REGION": REGION,
        "IMAGE": IMAGE,
        "TRIALS": "2",
        "WEIGHTS": weights(tmp_path),
        "INSTANCE_TYPE": "ml.m5.large",
        "KMS_KEY": KEY,
        "VPC__SUBNETS": '["subnet-1"]',
        "VPC__SECURITY_GROUPS": '["sg-1"]',
    }
    chosen = {f"HYPERPARAMETERS__{name}": value for name, value in {**QUICK, "pretrained": "true"}.items()}
    settings = {f"DESK_{name.upper()}": str(value) for name, value in {**own, **chosen}.items()}
    with running(tmp_path / "state") as api:
        here = {"AWS_ENDPOINT_URL": api.url, "PYTHONPATH": str(ways.ROOT / "scripts"), "HOME": str(tmp_path)}
        done = subprocess.run(
            [PYTHON, EXAMPLE, tmp_path / "data"],
            env={**os.environ, **KEYS, **settings, **here},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        labels = {line.partition("%  ")[2] for line in done.stdout.splitlines() if "%  " in line}
        assert len(labels) == 5
        assert labels <= {name.partition(".")[2] for name in CLASSES}
        jobs = api.sagemaker.list_training_jobs()["TrainingJobSummaries"]
        assert [one["TrainingJobStatus"] for one in jobs] == ["Completed"] * 3
        for job in jobs:
            record = api.sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
            assert record["OutputDataConfig"]["KmsKeyId"] == KEY
            assert "TuningJobArn" in record or record["ResourceConfig"]["VolumeKmsKeyId"] == KEY
            assert record["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
            lines = api.log_lines("/aws/sagemaker/TrainingJobs", job["TrainingJobName"])
            assert "taken from the `pretrained` channel" in "\n".join(lines)
        left = [api.sagemaker.list_models()["Models"], api.sagemaker.list_endpoint_configs()["EndpointConfigs"]]
        assert left == [[], []]
