"""/metrics and /execution-parameters."""

import asyncio
import re

import pytest

from house import JPEG, House, Run
from image_classifier.serving import wire


async def metrics(house: House) -> dict[str, float]:
    answer = await house.client.get("/metrics")
    assert answer.content_type == "text/plain"
    return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", await answer.text(), re.MULTILINE)}


def test_requests_are_counted_by_status_and_measured_by_stage(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.headers[wire.STAGES] = "decode=0.002,forward=0.004,encode=0.0001,records=3,together=8"
        house.worker.delay = 0.1
        for content_type in ("image/jpeg", "image/jpeg", "text/plain"):
            answer = await house.client.post("/invocations", data=b"x", headers={"Content-Type": content_type})
            assert wire.STAGES not in answer.headers
        await house.client.get("/nothing")
        told = await metrics(house)
        assert told['classifier_requests_total{path="/invocations",status="200"}'] == 2
        assert told['classifier_requests_total{path="/invocations",status="415"}'] == 1
        assert told['classifier_requests_total{path="other",status="404"}'] == 1
        assert told['classifier_stage_seconds_sum{stage="forward"}'] == pytest.approx(0.008)
        assert told['classifier_stage_seconds_count{stage="queue"}'] == 2
        assert 0.15 < told['classifier_stage_seconds_sum{stage="queue"}'] < 2
        assert told["classifier_batch_records_sum"] == 6
        assert told["classifier_batch_together_sum"] == 16
        assert told["classifier_ready"] == 1
        assert told["classifier_memory_bytes"] > 1e7

    run(talk)


def test_the_wait_for_a_slot_is_queue_too(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.3
        asked = (house.client.post("/invocations", data=b"x", headers=JPEG) for _ in range(8))
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        told = await metrics(house)
        queued = told['classifier_stage_seconds_sum{stage="queue"}']
        assert queued > 4 * 0.3 + 4 * 0.6 - 0.2  # four at work, then four that waited for them

    run(talk)


@pytest.mark.parametrize("stages", ["", "decode", "decode=x,records=", "=,=,="])
def test_an_answer_without_sensible_stages_is_all_queue(run: Run, stages: str) -> None:
    async def talk(house: House) -> None:
        house.worker.headers[wire.STAGES] = stages
        assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200
        told = await metrics(house)
        assert told['classifier_stage_seconds_count{stage="queue"}'] == 1
        assert told["classifier_batch_records_count"] == 0

    run(talk)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (2, "MULTI_RECORD", 6)),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}, (1, "MULTI_RECORD", 100)),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, (1, "MULTI_RECORD", 100)),
        (
            {
                "SAGEMAKER_BATCH": "true",
                "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
                "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "7",
            },
            (7, "SINGLE_RECORD", 6),
        ),
    ],
)
def test_execution_parameters(run: Run, environ: dict[str, str], expected: tuple[int, str, int]) -> None:
    async def talk(house: House) -> None:
        told = await (await house.client.get("/execution-parameters")).json()
        assert (told["MaxConcurrentTransforms"], told["BatchStrategy"], told["MaxPayloadInMB"]) == expected

    run(talk, **environ)
