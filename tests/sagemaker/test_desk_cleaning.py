"""What `sm-clean` asks before it removes anything, and what is stored."""

from pathlib import Path

from desk_commands import Quick, argument_list
from typer.testing import CliRunner

PROJECT = "cleaned"
MINE = {"project": PROJECT}


def models(desk: Quick) -> list[str]:
    return [one["ModelName"] for one in desk.api.sagemaker.list_models(NameContains=PROJECT)["Models"]]


def groups(desk: Quick) -> list[str]:
    found = desk.api.client("logs").describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Endpoints/cleaned")
    return [one["logGroupName"] for one in found["logGroups"]]


def test_what_is_refused_stays_and_what_is_stored_goes_only_when_that_is_said(desk: Quick, tmp_path: Path) -> None:
    from workflow.__main__ import app

    desk.api.put_picture(PROJECT)
    others = desk.api.put_picture(f"{PROJECT}-2")
    desk.run("train", settings=MINE)
    desk.run("train", settings=MINE | {"project": f"{PROJECT}-2"})
    desk.run("deploy", settings=MINE)
    (tmp_path / "a.png").write_bytes(b"a")
    desk.run("predict", "--path", str(tmp_path), code=2, settings=MINE)
    arguments = argument_list("clean", ["--data"], MINE)
    refused = CliRunner().invoke(app, arguments, env=desk.variables, input="n\n")
    assert "remove all of this? [y/N]: n" in refused.output
    assert "removed" not in refused.output
    assert len(models(desk)) == 1
    said = desk.run("clean", "--yes", settings=MINE)
    assert "stays: objects" in said
    assert f"stays: logs /aws/sagemaker/TrainingJobs/{PROJECT}-*: the logs of 1 containers" in said
    assert models(desk) == []
    assert desk.api.keys(f"{PROJECT}/")
    assert groups(desk) == [f"/aws/sagemaker/Endpoints/{PROJECT}"]
    desk.run("clean", "--yes", "--data", settings=MINE)
    assert desk.api.keys(f"{PROJECT}/") == groups(desk) == []
    assert f"nothing of {PROJECT} is there" in desk.run("clean", "--yes", "--data", settings=MINE)
    assert desk.api.keys(f"{PROJECT}-2/data/") == [others.split("/", 3)[3]]
    assert desk.api.log_lines("/aws/sagemaker/TrainingJobs", f"{PROJECT}-2-train")
