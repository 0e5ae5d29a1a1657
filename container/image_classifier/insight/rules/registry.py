"""All rules, in the order in which they are reported."""

import difflib
from collections.abc import Iterable

from image_classifier.errors import UserError
from image_classifier.insight.rules import (
    all_zero,
    batch_size,
    check_input_images,
    class_imbalance,
    confusion,
    cpu_bottleneck,
    data_waiting,
    dataloader,
    dead_relu,
    exploding_tensor,
    frozen_by_mistake,
    gpu_memory_increase,
    gradient_accumulation,
    host_memory_increase,
    initial_loss,
    io_bottleneck,
    label_noise,
    load_balancing,
    loss_not_decreasing,
    low_gpu_utilization,
    max_initialization_time,
    memorizing,
    mode_mistaken,
    not_learning,
    outputs_not_logits,
    overall_framework_metrics,
    overall_system_usage,
    overfit,
    overtraining,
    poor_weight_initialization,
    prediction_collapse,
    saturated_activation,
    similar_across_runs,
    split_overlap,
    stalled_training,
    step_outlier,
    tensor_variance,
    tiny_dataset,
    unchanged_tensor,
    vanishing_gradient,
    weight_update_ratio,
)
from image_classifier.insight.rules.rule import Rule

RULES: tuple[Rule, ...] = tuple(
    module.RULE
    for module in (
        # does it learn?
        not_learning,
        loss_not_decreasing,
        overfit,
        memorizing,
        overtraining,
        prediction_collapse,
        confusion,
        # is the data right?
        check_input_images,
        class_imbalance,
        tiny_dataset,
        label_noise,
        split_overlap,
        # are the tensors healthy?
        exploding_tensor,
        vanishing_gradient,
        weight_update_ratio,
        unchanged_tensor,
        all_zero,
        dead_relu,
        saturated_activation,
        poor_weight_initialization,
        tensor_variance,
        # is the training code right?
        initial_loss,
        outputs_not_logits,
        gradient_accumulation,
        mode_mistaken,
        frozen_by_mistake,
        similar_across_runs,
        # is the machine used?
        stalled_training,
        max_initialization_time,
        data_waiting,
        dataloader,
        step_outlier,
        host_memory_increase,
        low_gpu_utilization,
        batch_size,
        cpu_bottleneck,
        io_bottleneck,
        gpu_memory_increase,
        load_balancing,
        overall_system_usage,
        overall_framework_metrics,
    )
)
NAMES = tuple(rule.name for rule in RULES)


def named(names: Iterable[str]) -> tuple[Rule, ...]:
    """The rules of some names.

    Raises:
        UserError: there is no such rule; suggests the nearest.
    """
    known = {rule.name: rule for rule in RULES}
    names = tuple(names)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise UserError(f"There is no rule {' '.join(name.split()) or 'without a name'}; {hint}")
    return tuple(known[name] for name in names)
