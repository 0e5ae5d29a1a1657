"""The verdicts of the image's own rules, as SageMaker's Debugger says them of a job."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from local_sagemaker.store import Record

_WORDS = {"no issue": "NoIssuesFound", "issue": "IssuesFound", "not evaluated": "Error"}


def statuses(configured: Sequence[Record], output_data: Path, job_arn: str) -> list[Record]:
    """DebugRuleEvaluationStatuses of a job.

    Args:
        configured: DebugRuleConfigurations of its request.
        output_data: where `train` has left rules.json.
        job_arn: of the training job.
    """
    file = output_data / "rules.json"
    verdicts = {one["rule"]: one for one in json.loads(file.read_text())} if file.exists() else {}
    return [_status(rule, verdicts.get(_name(rule)), job_arn) for rule in configured]


def _name(rule: Record) -> str:
    """The rule that AWS's evaluator is asked to invoke, else the configuration's own name."""
    return str(rule.get("RuleParameters", {}).get("rule_to_invoke") or rule["RuleConfigurationName"])


def _status(rule: Record, verdict: Record | None, job_arn: str) -> Record:
    word = _WORDS[verdict["status"]] if verdict else "Error"
    details = verdict["reason"] if verdict else "train wrote no verdict on this rule"
    return {
        "RuleConfigurationName": rule["RuleConfigurationName"],
        "RuleEvaluationJobArn": job_arn.replace(":training-job/", ":processing-job/") + "-" + _name(rule).lower(),
        "RuleEvaluationStatus": word,
        "StatusDetails": details[:1024],
        "LastModifiedTime": time.time(),
    }
