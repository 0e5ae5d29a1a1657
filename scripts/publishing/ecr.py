"""Amazon ECR by the AWS CLI: whose registry, the way in, and the repository."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from desk import DeskError
from publishing.settings import Settings
from publishing.steps import Step, StepFailed, ask

# Partitions that are not amazonaws.com, by the beginning of their regions' names.
DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}
MOVING_TAG = "latest"
# An endpoint pulls its image again when it grows or loses a host, perhaps a year after the push. No count and no
# age can tell that it will, so no image that has a tag is ever removed; push.py gives each one a tag that stays.
LIFECYCLE_POLICY = Path("docker/lifecycle-policy.json")


@dataclass(frozen=True)
class Aws:
    """The AWS CLI for one region."""

    region: str
    ca_bundle: Path | None = None

    def __call__(self, service: str, action: str, *words: str) -> str:
        """What a call of the API answers; StepFailed with the remedy when it fails."""
        argv = ("aws", service, action, *words, "--region", self.region, "--output", "text")
        trust = {"AWS_CA_BUNDLE": str(self.ca_bundle)} if self.ca_bundle else {}
        return ask(f"`aws {service} {action}`", Step(argv, environment={"AWS_PAGER": "", **trust}))


@dataclass(frozen=True)
class Ecr:
    """The registry of one account in one region."""

    aws: Aws
    account: str

    @property
    def host(self) -> str:
        """The registry's address."""
        domains = (domain for start, domain in DOMAINS.items() if self.aws.region.startswith(start))
        return f"{self.account}.dkr.ecr.{self.aws.region}.{next(domains, 'amazonaws.com')}"

    def password(self) -> str:
        """A token for the user AWS, valid for twelve hours."""
        return self.aws("ecr", "get-login-password")

    def has(self, repository: str) -> bool:
        """Whether the repository is there; taken for there when the credentials may push but not ask."""
        try:
            self._call("describe-repositories", "--repository-names", repository)
        except StepFailed as failed:
            if "RepositoryNotFound" in failed.output:
                return False
            if "AccessDenied" not in failed.output:
                raise
        return True

    def create(self, repository: str, kms_key: str) -> None:
        """Create a repository: tags that stay but for the moving one, scanned, encrypted, with a lifecycle policy."""
        key = f"encryptionType=KMS,kmsKey={kms_key}" if kms_key else "encryptionType=AES256"
        words = ("--image-scanning-configuration", "scanOnPush=true", "--encryption-configuration", key)
        exclusion = f"filterType=WILDCARD,filter={MOVING_TAG}"
        stays = ("IMMUTABLE_WITH_EXCLUSION", "--image-tag-mutability-exclusion-filters", exclusion)
        create = ("create-repository", "--repository-name", repository, *words, "--image-tag-mutability")
        try:
            self._call(*create, *stays)
        except StepFailed as failed:
            if "exclusion" not in failed.output.lower():
                raise
            print(f"this AWS CLI cannot fix all tags but `{MOVING_TAG}`: the repository lets them move; update the CLI")
            self._call(*create, "MUTABLE")
        self._limit(repository)

    def _limit(self, repository: str) -> None:
        policy = ("--lifecycle-policy-text", f"file://{LIFECYCLE_POLICY}")
        try:
            self._call("put-lifecycle-policy", "--repository-name", repository, *policy)
        except StepFailed as failed:
            print(f"the repository has no lifecycle policy, so it keeps what has no tag: {failed}")

    def _call(self, action: str, *words: str) -> str:
        return self.aws("ecr", action, "--registry-id", self.account, *words)


def find(settings: Settings) -> Ecr:
    """The registry that the settings, the environment or the AWS configuration name."""
    if not shutil.which("aws"):
        raise DeskError("the AWS CLI is not on PATH; install it (pip install awscli)")
    aws = Aws(settings.region or configured_region(), settings.ca_bundle)
    who = ("--query", "Account")
    return Ecr(aws, settings.account or aws("sts", "get-caller-identity", *who))


def configured_region() -> str:
    """The region of the environment or of the AWS configuration."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        return region or ask("`aws configure`", Step(("aws", "configure", "get", "region")))
    except StepFailed as failed:
        if failed.cause:
            raise
        raise DeskError("no AWS region is set; set REGION, or run: aws configure set region us-east-1") from failed
