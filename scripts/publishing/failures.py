"""What the container engines, the registry and the AWS CLI print when they fail, and what it means to the user."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Cause:
    """A text the tools print and the sentence it becomes; {0} in the sentence stands for the pattern's first group."""

    pattern: str
    sentence: str
    passing: bool = False  # It may be gone at the next try.
    building: bool = False  # It is looked for in a build too, where programs print words such as "denied" or "500".


# The first that matches is taken, so what is special comes before what is general.
CAUSES = (
    Cause(
        "no space left on device|disk quota exceeded",
        "the disk is full; free some space (docker system df, podman system df tell what the engine keeps)",
        building=True,
    ),
    Cause(
        r"not authorized to perform:? (\w+:\w+)",
        "no permission: the AWS credentials need the IAM action {0}",
    ),
    Cause(
        r"AccessDenied\w*\) when calling the (\w+) operation",
        "no permission: the AWS credentials need the IAM action for {0}",
    ),
    Cause(
        "tag .*(?:already exists|is immutable)",
        "the tag exists in the registry and cannot be moved; give this build its own with TAG=name",
    ),
    Cause(
        "pull access denied|failed to resolve source metadata|manifest unknown|short-name .* did not resolve",
        "the base image cannot be pulled; name one that can with BASE_IMAGE, or log in to its registry",
        building=True,
    ),
    Cause(
        "RepositoryNotFound|name unknown|repository.* (?:does not|not) exist",
        "this account and region have no such repository; check IMAGE, REGION and ACCOUNT",
    ),
    Cause(
        "ExpiredToken|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidSignature|AuthFailure"
        "|token (?:has|is|included in the request is) (?:expired|invalid)|SSO session.*(?:expired|invalid)",
        "the AWS credentials have expired or are not valid in this region; renew them (aws sso login, aws configure)",
    ),
    Cause(
        "Unable to locate credentials|NoCredentials|Partial credentials|Error loading SSO Token"
        "|config profile .* could not be found",
        "there are no credentials; check your AWS credentials (aws configure, aws sso login, AWS_PROFILE)",
    ),
    Cause(
        "x509|certificate.*(?:verify failed|unknown authority)|SSL validation failed|CERTIFICATE_VERIFY_FAILED",
        "a certificate is not trusted; name a file of the CAs to trust with CA_BUNDLE, and tell the engine too"
        " (Docker: /etc/docker/certs.d)",
        building=True,
    ),
    Cause(
        "no such host|name or service not known|could not connect to the endpoint|failed to resolve|name resolution",
        "an address does not answer; check REGION and ACCOUNT, the network, and the proxy (HTTPS_PROXY, NO_PROXY)",
        building=True,
    ),
    Cause(
        r"no basic auth credentials|unauthorized|authentication required|invalid username|forbidden|\bdenied\b"
        r"|status:? 40[13]",
        "access was denied; the AWS credentials must belong to REGION and ACCOUNT, or the repository's policy must"
        " let them in",
    ),
    Cause(
        "exec format error|does not match the specified platform",
        "this machine cannot run programs of that platform; install an emulator (Debian: qemu-user-static and"
        " binfmt-support), or build on a machine of that kind",
        building=True,
    ),
    Cause(
        "Cannot connect to the Docker daemon|Is the docker daemon running",
        "the container engine does not answer any more; start it and run it again",
        building=True,
    ),
    Cause(
        r"connection re(?:fused|set)|broken pipe|\bEOF\b|time(?:d )?[- ]?out|too ?many ?requests|throttl"
        r"|status:? 50[0234]",
        "the connection was interrupted; run it again: what has arrived is not sent again",
        passing=True,
    ),
)


def cause_of(output: str, building: bool = False) -> Cause | None:
    """The first known cause in what a tool printed, with its sentence filled in; None when none is known."""
    for cause in (each for each in CAUSES if each.building or not building):
        found = re.search(cause.pattern, output, re.IGNORECASE)
        if found:
            return replace(cause, sentence=cause.sentence.format(*found.groups()))
    return None
