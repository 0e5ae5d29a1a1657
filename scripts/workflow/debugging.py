"""AWS's Debugger and profiler for a training job, for accounts that have them.

The image watches, profiles and judges itself in any case; AWS has closed Debugger to new customers on 2026-07-30.
"""

import re
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from desk import DeskError
from workflow.options import Debugger
from workflow.settings import Settings

NOTE = (
    "note: this account has no SageMaker Debugger (closed to new customers since 2026-07-30); the job runs without "
    "AWS's rules, the image's own are in its report; debugger.use=off ends this note"
)
# The Estimator's arguments without AWS's part. The SDK would switch off the image's own watching, too.
WITHOUT: Mapping[str, Any] = {
    "disable_profiler": True,
    "debugger_hook_config": False,
    "environment": {"USE_SMDEBUG": "true"},
}
# A configuration takes the place of the image's own choice, so it names what the image's rules read, too. None has an
# include_regex: the image finds the tensors of each by the class of their modules, in any architecture.
_OWN, _OWN_ARE_SMALLER = ("labels", "predictions", "statistics"), 10
_REFUSALS = ("ValidationException", "AccessDeniedException")


def is_wanted(settings: Settings) -> bool:
    """Whether a job asks for AWS's Debugger; one with debug=off saves nothing that its rules could read."""
    use = settings.debugger.use
    return use == "on" or (use == "auto" and settings.hyperparameters.get("debug") != "off")


def arguments(settings: Settings) -> dict[str, Any]:
    """The Estimator's arguments for hook, rules and profiler; DeskError for a rule that AWS does not have."""
    from sagemaker.debugger import CollectionConfig, DebuggerHookConfig, ProfilerConfig, Rule

    wanted = settings.debugger
    rules = [_rule(name) for name in wanted.rules]
    read = [one["CollectionName"] for rule in rules for one in rule.get("CollectionConfigurations") or []]
    often = max(1, wanted.save_interval // _OWN_ARE_SMALLER)
    every = {**dict.fromkeys(read, wanted.save_interval), **dict.fromkeys(_OWN, often), "losses": 1}
    saved = [CollectionConfig(name, {"save_interval": str(interval)}) for name, interval in every.items()]
    return {
        "debugger_hook_config": DebuggerHookConfig(settings.below("debug"), collection_configs=saved),
        "rules": [Rule.sagemaker(rule, collections_to_save=saved) for rule in rules],
        "profiler_config": ProfilerConfig(
            settings.below("profile"), system_monitor_interval_millis=wanted.profile_milliseconds
        ),
    }


def is_refused(error: ClientError, wanted: Debugger) -> bool:
    """Whether AWS has refused a job because of its Debugger, and the job may go without."""
    said = error.response["Error"]
    words = str(said.get("Message", "")).lower()
    return wanted.use == "auto" and said["Code"] in _REFUSALS and ("debug" in words or "profiler" in words)


def verdicts(job: Mapping[str, Any]) -> list[str]:
    """What AWS's rules say of a job, a line each."""
    lines = []
    for one in job.get("DebugRuleEvaluationStatuses", []):
        details = f": {one['StatusDetails']}" if one.get("StatusDetails") else ""
        lines.append(f"  rule {one['RuleConfigurationName']}: {one['RuleEvaluationStatus']}{details}")
    return lines


def _rule(name: str) -> Any:
    """A rule as the SDK describes it, with the collections that it reads."""
    from sagemaker.debugger import rule_configs

    made = getattr(rule_configs, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), None)
    if not name[:1].isupper() or not callable(made):
        raise DeskError(
            f"debugger.rules={name} is no rule of AWS's Debugger; write it as VanishingGradient or DeadRelu"
        )
    return made()
