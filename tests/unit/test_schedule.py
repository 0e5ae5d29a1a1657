"""The steps that the light form saves: few, from the first to the last."""

from hypothesis import given
from hypothesis import strategies as st

from image_classifier.insight.schedule import MOST, saving_steps


@given(st.integers(1, 5000), st.integers(1, 1000))
def test_few_steps_from_the_first_to_the_last(per_epoch: int, epochs: int) -> None:
    steps = saving_steps(per_epoch, epochs)
    assert steps == sorted(set(steps))
    assert len(steps) <= MOST
    assert steps[0] == 0
    assert steps[-1] == per_epoch * epochs - 1
    assert len(steps) >= min(20, per_epoch * epochs)


@given(st.integers(1, 5000), st.integers(1, 12))
def test_of_few_epochs_each_saves_its_last_step(per_epoch: int, epochs: int) -> None:
    ends = {per_epoch * (epoch + 1) - 1 for epoch in range(epochs)}
    assert ends <= set(saving_steps(per_epoch, epochs))


def test_a_short_job_saves_every_step() -> None:
    assert saving_steps(5, 6) == list(range(30))
