"""Requests that are answered together, in numbers of 16 bits: what a GPU does by itself, and a CPU when it is told."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import doors
from server import Answer, serving

TOLD = {
    "MMS_BATCH_SIZE": "4",
    "MMS_MAX_BATCH_DELAY": "20",
    "CLASSIFIER_ENGINE": "bf16",
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": "4",
}


def test_many_callers_have_their_own_answers_and_the_log_has_the_arithmetic(
    trained: doors.Finished, pictures: Path, tmp_path: Path
) -> None:
    bodies = [path.read_bytes() for path in sorted((pictures / "test").glob("*/*"))]
    large = bodies[0] + bytes(3 << 20)  # goes to the worker by a file
    with serving(trained.model, tmp_path / "log", environment=TOLD) as server, ThreadPoolExecutor(12) as pool:
        server.wait_until_ready()
        alone = [server.invoke(body) for body in bodies]
        together = list(pool.map(server.invoke, [*bodies, b"no picture", large, b""]))
        assert [answer.status for answer in together] == [200] * len(bodies) + [400, 200, 400]
        told = server.ask("GET", "/metrics").body.decode()
        of_one, of_all = (
            float(re.findall(rf"^classifier_batch_together_{name} (.+)$", told, re.MULTILINE)[0])
            for name in (r'bucket{le="1\.0"}', "count")
        )
        assert len(bodies) <= of_one < of_all
        for ours, wanted in zip([*together[: len(bodies)], together[-2]], [*alone, alone[0]], strict=True):
            assert close(ours, wanted)
        assert together[-1].json["request_id"] == together[-1].headers["X-Request-Id"]
        assert "\nEngine: PyTorch bf16, on cpu; CLASSIFIER_ENGINE=bf16; what it costs was not measured.\n" in server.log
        assert (
            "\nBatches: up to 4 requests together, which wait at most 20 ms for each other; "
            "8 are at work or come next = 2 x 1 worker(s) x 4.\n" in server.log
        )


def close(ours: Answer, wanted: Answer) -> bool:
    """In bf16 sums of another order differ by a percent."""
    shares, others = (dict(zip(a.json["topk_labels"], a.json["topk_probs"], strict=True)) for a in (ours, wanted))
    return shares == pytest.approx({label: others.get(label, 0.0) for label in shares}, abs=0.05)
