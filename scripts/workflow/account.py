"""The SDK's session and the names of what this project has made."""

import os
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from desk import DeskError
from workflow.settings import Settings

os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")  # read when the SDK is imported
_CONFIG = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
SCREEN = Console(highlight=False, soft_wrap=True)


def session(settings: Settings) -> Any:
    """The SDK's Session, in the settings' region and bucket."""
    import sagemaker

    keys = boto3.Session(region_name=settings.region)
    return sagemaker.Session(keys, default_bucket=settings.bucket, sagemaker_config=_CONFIG)


def client(settings: Settings, service: str) -> Any:
    """A client of one of AWS's services."""
    return boto3.client(service, region_name=settings.region)


def new_name(settings: Settings, kind: str) -> str:
    """A name that nothing has yet; short enough for a tuning job (32 characters)."""
    return f"{settings.project[:14]}-{kind}-{time.strftime('%m%d%H%M%S')}"[:32]


def newest(settings: Settings, operation: str, answer: str, member: str, **wanted: str) -> str:
    """The name of what this project has made last; DeskError when there is nothing."""
    found = getattr(client(settings, "sagemaker"), operation)(
        NameContains=settings.project[:14], SortBy="CreationTime", SortOrder="Descending", **wanted
    )[answer]
    if not found:
        raise DeskError(f"there is no {member.removesuffix('Name')} of {settings.project} yet; make one, or name one")
    return str(found[0][member])


def explained(work: Callable[[], None]) -> None:
    """Do it; what AWS refuses becomes one sentence."""
    try:
        work()
    except ClientError as error:
        said = error.response["Error"]
        raise DeskError(f"{error.operation_name} was refused: {said['Code']}: {said['Message']}") from None
    except BotoCoreError as error:
        raise DeskError(f"AWS cannot be asked: {error}") from None
