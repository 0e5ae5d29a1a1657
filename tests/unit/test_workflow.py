""".github/workflows/ci.yml runs what people run, and gives nobody more than he needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import ways

WORKFLOW = ways.ROOT / ".github" / "workflows" / "ci.yml"
MAKEFILE = (ways.ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return loaded


def steps(workflow: dict[Any, Any], job: str | None = None) -> list[dict[str, Any]]:
    jobs = workflow["jobs"].values() if job is None else [workflow["jobs"][job]]
    return [step for each in jobs for step in each["steps"]]


def commands(workflow: dict[Any, Any], job: str | None = None) -> list[str]:
    return [step["run"] for step in steps(workflow, job) if "run" in step]


def test_every_make_target_it_names_exists(workflow: dict[Any, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = {word for line in commands(workflow) for word in re.findall(r"\bmake ([a-z-]+)", line)}
    assert {"lint", "typecheck", "test", "push"} <= named <= targets


def test_every_script_it_names_exists(workflow: dict[Any, Any]) -> None:
    words = {word for line in commands(workflow) for word in line.split()}
    scripts = {word for word in words if re.fullmatch(r"[\w./-]+\.(sh|py)|\.ci/\w+", word)}
    assert [name for name in scripts if not (ways.ROOT / name).is_file()] == []
    explained = set(re.findall(r"`make (\w+)", WORKFLOW.read_text(encoding="utf-8")))
    assert explained <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_it_checks_what_ci_run_checks(workflow: dict[Any, Any]) -> None:
    (line,) = re.findall(r"^make (.+)$", (ways.ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [f"make {target}" for target in line.split()]
    assert [command for command in commands(workflow, "test") if command in wanted] == wanted


def test_it_pushes_only_what_was_tested_on_a_tag_or_by_hand(workflow: dict[Any, Any]) -> None:
    push = workflow["jobs"]["push"]
    assert push["needs"] == "test"
    assert push["if"] == "github.event_name == 'workflow_dispatch' || startsWith(github.ref, 'refs/tags/v')"
    assert "make push" in commands(workflow, "push")
    assert "make push" not in commands(workflow, "test")
    assert workflow[True]["push"]["tags"] == ["v*"], "YAML 1.1 reads the key `on` as true"


def test_no_key_is_stored_and_only_the_push_may_ask_for_an_identity(workflow: dict[Any, Any]) -> None:
    assert "secrets." not in WORKFLOW.read_text(encoding="utf-8")
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["test"]
    assert workflow["jobs"]["push"]["permissions"] == {"contents": "read", "id-token": "write"}


def test_the_role_of_the_template_trusts_the_environment_it_runs_in(workflow: dict[Any, Any]) -> None:
    template = (ways.ROOT / "scripts/infra/template.yaml").read_text(encoding="utf-8")
    assert f'"repo:${{GitHubRepository}}:environment:{workflow["jobs"]["push"]["environment"]}"' in template


def test_actions_are_by_github_or_aws_and_have_a_version(workflow: dict[Any, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"(actions|aws-actions)/[\w-]+@(v\d+|[0-9a-f]{40})", name)] == []


def test_a_step_does_one_thing_or_has_a_name(workflow: dict[Any, Any]) -> None:
    assert [
        line for step in steps(workflow) if (line := step.get("run", "")) and "&&" in line and not step.get("name")
    ] == []


def test_the_image_is_python_3_11_and_so_is_the_desk(workflow: dict[Any, Any]) -> None:
    versions = {step["with"]["python-version"] for step in steps(workflow) if "setup-python" in step.get("uses", "")}
    package = Path(ways.ROOT / "container" / "pyproject.toml").read_text(encoding="utf-8")
    assert versions == {"3.11"}
    assert 'requires-python = ">=3.11,<3.12"' in package
