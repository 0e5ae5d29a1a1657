"""IAM as far as a desk needs it: the role that its words name is there, and any role may do anything."""

import contextlib
import json
from typing import Any

from moto.backends import get_backend
from moto.core.responses import ActionResult
from moto.iam.exceptions import EntityAlreadyExists
from moto.iam.responses import IamResponse

from local_sagemaker.aws import ACCOUNT

NAME = "SageMaker"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def prepare() -> None:
    """Have the role, and answer SimulatePrincipalPolicy, which moto does not and SDK 3 asks before each job."""
    IamResponse.simulate_principal_policy = _simulate  # type: ignore[attr-defined]
    iam: Any = get_backend("iam")[ACCOUNT]["aws"]
    with contextlib.suppress(EntityAlreadyExists):
        iam.create_role(NAME, json.dumps(_TRUST), "/", None, "runs jobs on this desk", [], "3600")


def _simulate(response: Any) -> ActionResult:
    actions = response._get_param("ActionNames", [])
    results = [{"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": "allowed"} for action in actions]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})
