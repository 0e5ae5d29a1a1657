"""Answers by the desk's commands, against stand-ins of `serve`: about a folder here, and about a place in S3."""

import json
from pathlib import Path

from desk_commands import Quick, after
from started import BUCKET
from test_desk_serving import KEY, deploy, remove

PROJECT = "answered"


def test_a_picture_that_is_refused_does_not_end_the_others(desk: Quick, tmp_path: Path) -> None:
    deploy(desk, "asked", desk.api.model("labels"), project=PROJECT)
    for name in ("a", "text", "z"):
        (tmp_path / f"{name}.png").write_text(name)
    said = desk.run("predict", "--path", str(tmp_path), "--endpoint", "asked", code=2)
    assert [line.removeprefix(f"{tmp_path}/") for line in said.splitlines()] == [
        "a.png: dog 75.0%, cat 25.0%",
        "text.png: the model refused it: no picture",
        "z.png: dog 75.0%, cat 25.0%",
        "workflow: 1 of 3 pictures got no answer",
    ]
    remove(desk, "asked")


def test_a_batch_on_gpus_names_the_host_and_joins_answers_to_names(desk: Quick) -> None:
    for name in ("a/1.png", "b/2.png"):
        desk.api.put(f"{PROJECT}/data/test/{name}", b"picture")
    chosen = {"project": PROJECT, "serving_instance_type": "ml.g4dn.xlarge", "kms_key": KEY}
    source = f"s3://{BUCKET}/{PROJECT}/data/test"
    said = desk.run("transform", "--source", source, "--job", desk.api.model("labels"), settings=chosen)
    job = desk.api.sagemaker.describe_transform_job(TransformJobName=after(said, "transform job:"))
    assert job["TransformResources"]["TransformAmiVersion"] == "al2-ami-sagemaker-batch-gpu-535"
    assert ("VolumeKmsKeyId" in job["TransformResources"], job["TransformOutput"]["KmsKeyId"]) == (False, KEY)
    answers = Path(after(said, "answers:"))
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    answers.unlink()
    assert [(row["picture"], row["topk_labels"][0]) for row in rows] == [("a/1.png", "dog"), ("b/2.png", "dog")]


def test_a_batch_that_fails_says_why(desk: Quick) -> None:
    desk.api.put(f"{PROJECT}/broken/a.png", b"picture")
    words = ["--source", f"s3://{BUCKET}/{PROJECT}/broken", "--job", desk.api.model("broken")]
    said = desk.run("transform", *words, code=2, settings={"project": PROJECT})
    assert f"transform job {after(said, 'transform job:')}: Failed, " in said
    assert "no reason given" not in said
    assert "is no place in S3" in desk.run("transform", "--source", "here", code=2, settings={"project": PROJECT})
