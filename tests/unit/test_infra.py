"""scripts/infra: the template by cfn-lint and against moto's AWS, and the script that deploys it."""

import ast
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cfnlint.decode import cfn_yaml

import ways

FOLDER = ways.ROOT / "scripts" / "infra"
TEMPLATE = FOLDER / "template.yaml"
LIFECYCLE = ways.ROOT / "docker" / "lifecycle-policy.json"
ACCOUNT, REGION = "123456789012", "eu-west-1"  # moto's account
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    loaded: dict[str, Any] = cfn_yaml.load(str(TEMPLATE))
    return loaded


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's AWS."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "import moto.server; moto.server.main()", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("cloud") / "moto.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            end = time.monotonic() + 60
            while not _listens(port):
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Account:
    """moto's account, as a test looks into it."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder

    def client(self, service: str) -> Any:
        return boto3.client(
            service, REGION, endpoint_url=self._address, aws_access_key_id="key", aws_secret_access_key="secret"
        )

    def create(self, stack: str, **parameters: str) -> None:
        self.client("cloudformation").create_stack(StackName=stack, **_request(parameters))

    def outputs(self, stack: str) -> dict[str, str]:
        (described,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}

    def permissions(self, role: str) -> list[dict[str, Any]]:
        policy = self.client("iam").get_role_policy(RoleName=role, PolicyName="jobs-and-endpoints")["PolicyDocument"]
        # moto gives back what CloudFormation made as Python writes it, with None where AWS leaves NoValue out
        return [each for each in ast.literal_eval(str(policy))["Statement"] if each]

    def deploy(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """scripts/infra/deploy.sh, with the environment of a user who has credentials."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != "IMAGE"}
        environment = {
            **kept,
            "PATH": f"{ways.ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": self._address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_CONFIG_FILE": str(self._folder / "no-config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "REGION": REGION,
            **environ,
        }
        command = [FOLDER / "deploy.sh", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _request(parameters: dict[str, str]) -> dict[str, Any]:
    listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    body = TEMPLATE.read_text(encoding="utf-8")
    return {"TemplateBody": body, "Parameters": listed, "Capabilities": ["CAPABILITY_NAMED_IAM"]}


@pytest.fixture
def account(cloud: str, tmp_path: Path) -> Account:
    return Account(cloud, tmp_path)


def statements(template: dict[str, Any], role: str) -> dict[str, dict[str, Any]]:
    """A role's permissions by Sid, those for a key of one's own too."""
    (policy,) = template["Resources"][role]["Properties"]["Policies"]
    plain = [each["Fn::If"][1] if "Fn::If" in each else each for each in policy["PolicyDocument"]["Statement"]]
    return {each["Sid"]: each for each in plain}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class TestTheFile:
    def test_cfn_lint_has_nothing_to_say(self) -> None:
        done = subprocess.run([ways.ROOT / ".venv/bin/cfn-lint", TEMPLATE], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    @pytest.mark.parametrize("role", ["ExecutionRole", "PushRole"])
    def test_no_permission_is_wider_than_it_must_be(self, template: dict[str, Any], role: str) -> None:
        for name, statement in statements(template, role).items():
            assert not [action for action in as_list(statement["Action"]) if "*" in action], name
            if "*" in as_list(statement["Resource"]):
                knows_no_resources = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
                assert set(as_list(statement["Action"])) <= knows_no_resources, name

    def test_s3_is_that_bucket_and_ecr_that_repository(self, template: dict[str, Any]) -> None:
        role = statements(template, "ExecutionRole")
        resources = [role[name]["Resource"]["Fn::Sub"] for name in ("FindObjects", "ReadAndWriteObjects", "PullImage")]
        assert resources == [
            "arn:${AWS::Partition}:s3:::${BucketName}",
            "arn:${AWS::Partition}:s3:::${BucketName}/*",
            "arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/${ImageName}",
        ]
        assert role["WriteMetrics"]["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}

    def test_only_sagemaker_takes_the_role_and_only_for_this_account(self, template: dict[str, Any]) -> None:
        (trust,) = template["Resources"]["ExecutionRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}

    def test_each_permission_is_explained(self) -> None:
        lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
        places = [number for number, line in enumerate(lines) if re.match(r" +- Sid: (?!OnlyOverTls)", line)]
        assert len(places) == 12
        assert [lines[number] for number in places if not lines[number - 1].lstrip().startswith("#")] == []

    def test_the_bucket_is_nobodys_but_the_accounts(self, template: dict[str, Any]) -> None:
        bucket = template["Resources"]["Bucket"]["Properties"]
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        (deny,) = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})

    @pytest.mark.parametrize("name", ["Repository", "Bucket"])
    def test_what_holds_data_outlives_the_stack(self, template: dict[str, Any], name: str) -> None:
        resource = template["Resources"][name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")

    def test_the_lifecycle_policy_is_the_one_a_push_sets(self, template: dict[str, Any]) -> None:
        text = template["Resources"]["Repository"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
        assert json.loads(text) == json.loads(LIFECYCLE.read_text(encoding="utf-8"))


class TestAgainstAws:
    def test_a_stack_makes_repository_bucket_and_role(self, account: Account, template: dict[str, Any]) -> None:
        account.create("plain", ImageName="plain", BucketName="plain-bucket")
        outputs = account.outputs("plain")
        assert outputs["Repository"] == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/plain"
        assert outputs["Bucket"] == "plain-bucket"
        assert "PushRole" not in outputs

        ecr = account.client("ecr")
        (repository,) = ecr.describe_repositories(repositoryNames=["plain"])["repositories"]
        assert repository["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        assert repository["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "latest"}]
        # moto's CloudFormation leaves the lifecycle policy out; its ECR tells whether the text is one
        text = template["Resources"]["Repository"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
        ecr.put_lifecycle_policy(repositoryName="plain", lifecyclePolicyText=text)

        encryption = account.client("s3").get_bucket_encryption(Bucket="plain-bucket")
        (rule,) = encryption["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

        role = outputs["Role"].rpartition("/")[2]
        resources = {each["Sid"]: each["Resource"] for each in account.permissions(role)}
        assert resources["ReadAndWriteObjects"] == "arn:aws:s3:::plain-bucket/*"
        assert resources["PullImage"] == f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/plain"
        assert "UseKeyForObjects" not in resources, "there is no key of one's own"

    def test_a_key_of_ones_own_encrypts_the_bucket_and_the_role_may_use_it(self, account: Account) -> None:
        account.create("keyed", ImageName="keyed", BucketName="keyed-bucket", KmsKeyArn=KEY, RoleName="keyed-role")
        encryption = account.client("s3").get_bucket_encryption(Bucket="keyed-bucket")
        (rule,) = encryption["ServerSideEncryptionConfiguration"]["Rules"]
        wanted = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        assert rule["ApplyServerSideEncryptionByDefault"] == wanted
        (use,) = (each for each in account.permissions("keyed-role") if each["Sid"] == "UseKeyForObjects")
        assert use["Resource"] == KEY
        assert use["Condition"] == {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}

    def test_github_pushes_from_one_environment_of_one_repository(self, account: Account) -> None:
        account.create("hub", ImageName="hub", BucketName="hub-bucket", GitHubRepository="me/it")
        role = account.client("iam").get_role(RoleName=account.outputs("hub")["PushRole"].rpartition("/")[2])["Role"]
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        conditions = trust["Condition"]["StringEquals"]
        assert conditions["token.actions.githubusercontent.com:sub"] == "repo:me/it:environment:release"

    def test_an_update_changes_the_bucket_and_a_deletion_keeps_it(self, account: Account) -> None:
        given = {"ImageName": "kept", "BucketName": "kept-bucket"}
        account.create("kept", **given)
        cloudformation, s3 = account.client("cloudformation"), account.client("s3")
        cloudformation.update_stack(StackName="kept", **_request({**given, "KmsKeyArn": KEY}))
        encryption = s3.get_bucket_encryption(Bucket="kept-bucket")["ServerSideEncryptionConfiguration"]
        assert encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
        role = account.outputs("kept")["Role"].rpartition("/")[2]

        cloudformation.delete_stack(StackName="kept")
        s3.head_bucket(Bucket="kept-bucket")
        account.client("ecr").describe_repositories(repositoryNames=["kept"])
        with pytest.raises(ClientError, match="NoSuchEntity"):
            account.client("iam").get_role(RoleName=role)


class TestTheScript:
    def test_a_new_stack_uses_what_an_earlier_one_or_a_push_left(self, account: Account) -> None:
        bucket = f"team-again-{ACCOUNT}-{REGION}"
        account.create("earlier", ImageName="team/again", BucketName=bucket)
        account.client("cloudformation").delete_stack(StackName="earlier")

        done = account.deploy(IMAGE="team/again")
        assert done.returncode == 0, done.stderr
        (stack,) = account.client("cloudformation").describe_stacks(StackName="team-again")["Stacks"]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        assert parameters["BucketName"] == bucket
        assert (parameters["RepositoryExists"], parameters["BucketExists"]) == ("true", "true")

    def test_what_aws_refuses_ends_with_where_to_ask(self, account: Account) -> None:
        account.client("iam").create_role(RoleName="taken", AssumeRolePolicyDocument="{}")
        done = account.deploy(IMAGE="refused", ROLE_NAME="taken")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "infra: the stack refused was not deployed; ask why with: "
            f"aws cloudformation describe-stack-events --region {REGION} --stack-name refused"
        )

    def test_an_update_keeps_what_is_not_given_and_prints_the_outputs(self, account: Account) -> None:
        account.create("mine", ImageName="mine", BucketName="mine-bucket")
        done = account.deploy(IMAGE="mine", KMS_KEY=KEY)
        assert done.returncode == 0, done.stderr
        printed = dict(line.split() for line in done.stdout.splitlines())
        assert printed == account.outputs("mine")
        assert printed["Bucket"] == "mine-bucket"

    @pytest.mark.parametrize(
        ("words", "changes", "sentence"),
        [
            (["--frob"], {}, "infra: unknown option --frob; see deploy.sh --help"),
            ([], {"REGION": ""}, "infra: no AWS region is set; set REGION, or run: aws configure set region us-east-1"),
            (
                [],
                {"AWS_ACCESS_KEY_ID": ""},
                "infra: AWS does not know these credentials; run: aws configure, or aws sso",
            ),
            ([], {"PATH": "/usr/bin:/bin"}, "infra: the AWS CLI is not on PATH; install it (pip install awscli)"),
        ],
    )
    def test_a_failure_ends_with_one_sentence(
        self, account: Account, words: list[str], changes: dict[str, str], sentence: str
    ) -> None:
        done = account.deploy(*words, **changes)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(sentence), done.stderr

    def test_help_lists_every_setting(self, account: Account) -> None:
        said = account.deploy("--help").stdout
        used = set(re.findall(r"\$\{([A-Z_]+):-", (FOLDER / "deploy.sh").read_text(encoding="utf-8")))
        assert used >= {"IMAGE", "REGION", "BUCKET", "KMS_KEY"}
        assert [name for name in used if not name.startswith("AWS_") and f"\n  {name} " not in said] == []
