"""What build_and_push.sh decides before and after the engine and the registry have their say."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import DeskError
from publishing import content, steps
from publishing.content import Ignore, context, fingerprint, tag_of
from publishing.ecr import Aws, Ecr
from publishing.engines import Build, Buildah, ClassicDocker, Docker, Engine, Podman, without_mounts
from publishing.failures import CAUSES, cause_of
from publishing.registry import CONFIG, LAYER, MANIFEST, Manifest, content_problem, form_problem
from publishing.settings import Settings
from publishing.steps import Step, StepFailed
from ways import ROOT

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
OCI = "application/vnd.oci.image"


class TestContent:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        (tmp_path / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
        files = ("docker/Dockerfile", "docker/requirements.txt", "container/app.py", "container/a/__pycache__/app.pyc")
        for name in (*files, "README.md", ".venv/lib/torch.so", "docker/weights/.gitkeep", "docker/weights/r.pth"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        return tmp_path

    def test_only_what_dockerignore_lets_through_is_in_the_context(self, tree: Path) -> None:
        assert set(context(tree)) == {"docker/requirements.txt", "container/app.py", "docker/weights/r.pth"}

    def test_the_fingerprint_is_of_the_files_in_the_image_and_of_the_arguments(self, tree: Path) -> None:
        before = fingerprint(tree, ["linux/amd64"])
        for name in ("README.md", ".venv/lib/torch.so", "container/a/__pycache__/app.pyc"):
            (tree / name).write_text("changed")
        assert fingerprint(tree, ["linux/amd64"]) == before
        assert fingerprint(tree, ["linux/arm64"]) != before
        for name in ("docker/Dockerfile", "container/app.py", "docker/weights/r.pth"):
            (tree / name).write_text("changed")
            after = fingerprint(tree, ["linux/amd64"])
            assert after != before
            before = after
        (tree / "container/app.py").chmod(0o755)
        assert fingerprint(tree, ["linux/amd64"]) != before

    @given(st.dictionaries(st.integers(0, 99).map("file{}".format), st.binary(max_size=9), max_size=5))
    def test_no_two_contents_have_one_fingerprint(self, tmp_path_factory: Any, files: dict[str, bytes]) -> None:
        folder = tmp_path_factory.mktemp("tree")
        (folder / "docker").mkdir()
        (folder / "docker/Dockerfile").touch()
        seen = {fingerprint(folder, [])}
        for name, data in files.items():
            (folder / name).write_bytes(data)
            assert fingerprint(folder, []) not in seen
            seen.add(fingerprint(folder, []))

    @given(st.text(), st.text("0123456789abcdef", min_size=12, max_size=12))
    def test_whatever_git_says_the_tag_is_valid(self, description: str, digits: str) -> None:
        tag = tag_of(description, digits)
        assert TAG.fullmatch(tag)
        assert tag.endswith(f"-{digits}")

    def test_outside_of_a_checkout_the_tag_is_of_the_content_alone(self, tree: Path) -> None:
        assert content.describe(tree, []) == f"source-{fingerprint(tree, [])}"

    @pytest.mark.parametrize(
        ("rules", "path", "ignored"),
        [
            ("*\n!container", "container/a/b.py", False),
            ("*\n!container\n**/*.pyc", "container/a/b.pyc", True),
            ("**/node", "a/b/node/c", True),
            ("/build/", "build/x", True),
            ("build", "a/build", False),
            ("a?c", "abc", True),
            ("# a comment\n\na*", "abc/d", True),
            ("!a\na", "a", True),
        ],
    )
    def test_dockerignore_is_read_as_the_builders_read_it(self, rules: str, path: str, ignored: bool) -> None:
        assert Ignore.parse(rules).ignores(path) is ignored


class TestSettings:
    @pytest.mark.parametrize("name", ["team/classifier", "a.b_c-d", "classifier"])
    def test_the_names_of_ecr_are_taken(self, name: str) -> None:
        assert Settings.from_environment({"IMAGE": name}).image == name

    @pytest.mark.parametrize(
        ("name", "value"),
        [("IMAGE", "Upper"), ("ACCOUNT", "12"), ("REGION", "Frankfurt"), ("PLATFORM", "linux"), ("TAG", "-x")],
    )
    def test_a_value_of_another_form_is_refused_with_an_example(self, name: str, value: str) -> None:
        with pytest.raises(DeskError, match=f"{name}={value} cannot be used; it must be of the form "):
            Settings.from_environment({name: value})


class TestEngines:
    BUILD = Build("name", "linux/amd64", {"VERSION": "1"}, {"label": "1"}, {"ca_bundle": Path("ca.pem")})

    def test_buildx_is_told_to_write_dockers_types_and_no_attestation(self) -> None:
        argv = Docker("docker", buildx=True).build(self.BUILD).argv
        assert {"--provenance=false", "--sbom=false", "type=docker,oci-mediatypes=false"} <= set(argv)
        assert "--provenance=false" not in Docker("docker").build(self.BUILD).argv

    @pytest.mark.parametrize("engine", [Podman("podman"), Buildah("buildah")])
    def test_the_others_are_told_so_at_build_and_at_push(self, engine: Engine) -> None:
        assert "--format docker" in " ".join(engine.build(self.BUILD).argv)
        (step,) = engine.push("name", "host/name:1")
        assert step.argv[-4:] == ("--format", "v2s2", "name", "docker://host/name:1")

    def test_the_address_of_a_proxy_is_not_on_a_command_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://somebody:password@proxy")
        argv = Docker("docker").build(self.BUILD).argv
        assert argv[argv.index("HTTPS_PROXY") - 1] == "--build-arg"
        assert "password" not in " ".join(argv)

    def test_the_real_dockerfile_can_be_built_by_the_classic_builder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        step = ClassicDocker("docker").build(replace(self.BUILD, secrets={}))
        assert step.stdin.startswith("# One image")
        assert "--mount" not in step.stdin
        assert "\nRUN apt-get update \\\n" in step.stdin

    def test_a_mount_that_is_needed_is_not_taken_away(self) -> None:
        with pytest.raises(DeskError, match="no BuildKit"):
            without_mounts("FROM a\nRUN --mount=type=bind,target=/x ls\n")


class TestEcr:
    @pytest.mark.parametrize(
        ("region", "domain"),
        [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-east-1", "amazonaws.com"),
            ("cn-northwest-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ],
    )
    def test_each_partition_has_its_domain(self, region: str, domain: str) -> None:
        assert Ecr(Aws(region), "123456789012").host == f"123456789012.dkr.ecr.{region}.{domain}"

    def test_the_lifecycle_policy_lets_every_image_with_a_tag_live(self) -> None:
        policy = json.loads((ROOT / "docker/lifecycle-policy.json").read_text())
        assert [rule["selection"]["tagStatus"] for rule in policy["rules"]] == ["untagged"]


def manifest(**changes: Any) -> Manifest:
    layer = {"mediaType": LAYER, "digest": "sha256:b", "size": 7}
    config = {"mediaType": CONFIG, "digest": "sha256:a", "size": 5}
    fields = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return Manifest(json.dumps({**fields, **changes}).encode())


class TestRegistry:
    def test_dockers_manifest_has_no_problem(self) -> None:
        assert list(form_problem(manifest())) == []
        assert manifest().is_of("sha256:a")
        assert manifest().is_of(manifest().digest)
        assert not manifest().is_of("sha256:b")

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"mediaType": f"{OCI}.index.v1+json"}, f"its manifest is {OCI}.index.v1+json"),
            ({"mediaType": None}, "its manifest is None"),
            ({"config": {"mediaType": f"{OCI}.config.v1+json"}}, f"it holds {OCI}.config.v1+json"),
            ({"layers": [{"mediaType": f"{OCI}.layer.v1.tar+zstd"}]}, f"it holds {OCI}.layer.v1.tar+zstd"),
            ({"layers": []}, "it has no layers"),
        ],
    )
    def test_what_sagemaker_refuses_is_named(self, changes: dict[str, Any], problem: str) -> None:
        assert problem in next(form_problem(manifest(**changes)))

    @pytest.mark.parametrize(
        ("config", "problem"),
        [
            ({}, None),
            ({"architecture": "arm64", "variant": "v8"}, "it is for linux/arm64 and not for linux/amd64"),
            ({"config": {"Labels": None}}, "its label a is None and not 'b'"),
            ({"config": {"Labels": {"a": "c"}}}, "its label a is 'c' and not 'b'"),
        ],
    )
    def test_another_platform_or_label_is_named(self, config: dict[str, Any], problem: str | None) -> None:
        right = {"os": "linux", "architecture": "amd64", "config": {"Labels": {"a": "b"}}}
        assert next(content_problem({**right, **config}, "linux/amd64", {"a": "b"}), None) == problem

    def test_the_variant_that_goes_without_saying_may_be_said(self) -> None:
        config = {"os": "linux", "architecture": "arm64", "variant": "v8"}
        assert list(content_problem(config, "linux/arm64", {})) == []
        assert list(content_problem(config, "linux/arm64/v8", {})) == []


# What the tools really print.
SAID = {
    "write /var/lib/docker/tmp/x: no space left on device": "the disk is full",
    "An error occurred (AccessDeniedException) when calling the CreateRepository operation: User: arn:aws:iam::1:user/x"
    " is not authorized to perform: ecr:CreateRepository on resource: y": "the IAM action ecr:CreateRepository",
    "denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:InitiateLayerUpload on resource: y": (
        "the IAM action ecr:InitiateLayerUpload"
    ),
    "tag invalid: The image tag 'v1' already exists in the 'x' repository and cannot be overwritten because the tag"
    " is immutable.": "the tag exists",
    "name unknown: The repository with name 'x' does not exist in the registry with id '1'": "have no such repository",
    "An error occurred (ExpiredTokenException) when calling the GetCallerIdentity operation": "have expired",
    "Unable to locate credentials. You can configure credentials by running \"aws configure\".": "no credentials",
    "Error loading SSO Token: Token for x does not exist": "no credentials",
    "x509: certificate signed by unknown authority": "a certificate is not trusted",
    'Could not connect to the endpoint URL: "https://api.ecr.eu-west-9.amazonaws.com/"': "check REGION",
    "dial tcp: lookup 1.dkr.ecr.x.amazonaws.com: no such host": "check REGION and ACCOUNT",
    "no basic auth credentials": "access was denied",
    "pull access denied for nowhere, repository does not exist or may require authorization": "name one that can with",
    "exec /bin/sh: exec format error": "cannot run programs of that platform",
    "read tcp 1.2.3.4:5: read: connection reset by peer": "interrupted; run it again",
    "received unexpected HTTP status: 503 Service Unavailable": "interrupted; run it again",
}  # fmt: skip


class TestFailures:
    @pytest.mark.parametrize(("output", "words"), SAID.items())
    def test_what_the_tools_print_becomes_a_sentence(self, output: str, words: str) -> None:
        cause = cause_of(f"Sending\n{output}\n")
        assert cause
        assert words in cause.sentence

    @pytest.mark.parametrize("line", ["#10 403.2 Downloading torch", "#9 1.5 sh: Permission denied", "#9 500.1 EOF"])
    def test_what_programs_print_in_a_build_is_not_taken_for_the_registrys(self, line: str) -> None:
        with pytest.raises(StepFailed, match=r"^building failed: exit code 1$"):
            steps.show("building", Step(("sh", "-c", f"echo '{line}'; echo exit code 1; exit 1"), building=True))

    def test_every_cause_is_one_line_with_a_remedy(self) -> None:
        for cause in CAUSES:
            assert "\n" not in cause.sentence
            assert re.search(r"; |: ", cause.sentence)

    def test_what_nobody_knows_is_passed_on_by_its_last_line(self) -> None:
        with pytest.raises(StepFailed, match=r"^building failed: gremlins$"):
            steps.show("building", Step(("sh", "-c", "echo first; echo gremlins; exit 1")))

    def test_what_may_pass_is_tried_again_and_what_does_not_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steps, "PAUSE_S", 0.01)
        count = f"echo >>{tmp_path}/tries; test $(wc -l <{tmp_path}/tries) = 3"
        steps.show("pushing", Step(("sh", "-c", f"{count} || {{ echo connection reset; exit 1; }}")), tries=3)
        assert (tmp_path / "tries").read_text().count("\n") == 3
        (tmp_path / "tries").unlink()
        with pytest.raises(StepFailed, match="the disk is full"):
            steps.show(
                "pushing", Step(("sh", "-c", f"{count} || {{ echo no space left on device; exit 1; }}")), tries=3
            )
        assert (tmp_path / "tries").read_text().count("\n") == 1

    def test_a_step_gets_its_input_and_a_program_that_is_not_there_is_named(self) -> None:
        assert steps.ask("reading", Step((sys.executable, "-c", "print(input())"), "a token")) == "a token"
        with pytest.raises(DeskError, match="/nowhere cannot be run"):
            steps.ask("reading", Step(("/nowhere",)))
