"""What is known of instance types: the numbers of AWS's tables."""

import pytest

from local_sagemaker.shapes import Shape, shape


@pytest.mark.parametrize(
    ("kind", "cpus", "gib"),
    [
        ("ml.m5.large", 2, 8),
        ("ml.m5.12xlarge", 48, 192),
        ("ml.c5.9xlarge", 36, 72),
        ("ml.g4dn.xlarge", 4, 16),
        ("ml.g5.48xlarge", 192, 768),
        ("ml.g6e.xlarge", 4, 32),
        ("ml.p3.2xlarge", 8, 61),
        ("ml.p4d.24xlarge", 96, 1152),
    ],
)
def test_a_type_has_the_cpus_and_the_memory_that_aws_writes(kind: str, cpus: int, gib: int) -> None:
    assert shape(kind) == Shape(cpus, gib * 2**30)


@pytest.mark.parametrize("kind", ["ml.trn1.2xlarge", "ml.m5.metal", "m5.large", "ml.m5.2large2", ""])
def test_of_other_types_nothing_is_said(kind: str) -> None:
    assert shape(kind) is None


def test_no_container_gets_more_than_the_host_has() -> None:
    assert Shape(4, 100).within(Shape(2, 300)) == Shape(2, 100)
    assert Shape(2, 300).within(Shape(4, 100)).flags == ("--cpus", "2", "--memory", "100", "--memory-swap", "100")
