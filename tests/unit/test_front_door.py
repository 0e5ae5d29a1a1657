"""The front door: readiness, and requests on their way to a worker and back."""

import pytest

from house import GOOD, JPEG, House, Run
from image_classifier.errors import RequestError
from image_classifier.serving import wire
from image_classifier.serving.formats import Options, Output
from image_classifier.serving.front_door import State


@pytest.mark.parametrize("state", State)
def test_ping_is_200_only_when_ready(run: Run, state: State) -> None:
    async def talk(house: House) -> None:
        house.door.state = state
        answer = await house.client.get("/ping")
        if state is State.READY:
            assert (answer.status, await answer.read()) == (200, b"")
        else:
            assert await house.error(answer, 503, "not_ready") == state.value

    run(talk)


@pytest.mark.parametrize("state", [State.LOADING, State.NO_WORKERS])
def test_without_a_worker_a_request_is_503_and_reaches_nobody(run: Run, state: State) -> None:
    async def talk(house: House) -> None:
        house.door.state = state
        await house.error(await house.client.post("/invocations", data=b"x", headers=JPEG), 503, "not_ready")
        assert house.worker.seen == []

    run(talk)


def test_requests_that_come_while_draining_are_still_answered(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.state = State.DRAINING
        assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200

    run(talk)


def test_a_picture_reaches_the_worker_and_its_answer_the_caller(run: Run) -> None:
    async def talk(house: House) -> None:
        body = bytes(range(256)) * 500
        headers = {**JPEG, "Accept": "application/json;verbose", "X-Request-Id": "abc-1"}
        answer = await house.client.post("/invocations?top_k=3", data=body, headers=headers)
        assert (answer.status, answer.headers["X-Request-Id"]) == (200, "abc-1")
        assert await answer.json() == GOOD
        ((told, got),) = house.worker.seen
        assert got == body
        assert told[wire.REQUEST_ID] == "abc-1"
        assert Options.from_header(told[wire.OPTIONS]) == Options(output=Output.VERBOSE, top_k=3)
        assert house.door.in_flight == 0

    run(talk)


def test_the_id_that_sagemaker_passes_on_serves_where_there_is_no_other(run: Run) -> None:
    async def talk(house: House) -> None:
        for sent, wanted in (({}, "i-1"), ({"X-Request-Id": "r-1"}, "r-1"), ({"X-Request-Id": "r 1"}, None)):
            answer = await house.client.get("/ping", headers={"X-Amzn-SageMaker-Inference-Id": "i-1", **sent})
            got = answer.headers["X-Request-Id"]
            assert got == wanted if wanted else len(got) == 32
        answer = await house.client.get("/ping", headers={"X-Amzn-SageMaker-Inference-Id": "<script>"})
        assert len(answer.headers["X-Request-Id"]) == 32

    run(talk)


@pytest.mark.parametrize("given", ["", "a" * 65, "with space", "a/b", "äöü", "-", "<script>"])
def test_an_id_that_is_not_plain_is_replaced(run: Run, given: str) -> None:
    async def talk(house: House) -> None:
        answer = await house.client.get("/ping", headers={"X-Request-Id": given})
        made = answer.headers["X-Request-Id"]
        assert made != given
        assert len(made) == 32
        assert made.isalnum()

    run(talk)


def test_what_the_handler_says_is_passed_on(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.status, house.worker.body = 400, b'{"code": "bad_image"}'
        house.worker.headers |= {"X-Amzn-SageMaker-Custom-Attributes": "trace=7", "X-Other": "never leaves"}
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert (answer.status, await answer.read()) == (400, b'{"code": "bad_image"}')
        assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=7"
        assert "X-Other" not in answer.headers

    run(talk)


@pytest.mark.parametrize("status", [200, 422, 503])
def test_a_status_of_the_scripts_own_is_passed_on_and_503_says_when_to_come_again(run: Run, status: int) -> None:
    async def talk(house: House) -> None:
        house.worker.status = status
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert answer.status == status
        assert answer.headers.get("Retry-After") == ("1" if status == 503 else None)

    run(talk, own_formats=False)


def test_a_users_script_decides_about_its_own_formats(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.headers = {"content-type": "text/csv"}
        sent = {f"X-Amzn-SageMaker-{name}": f"{name}=1" for name in ("Custom-Attributes", "Session-Id", "Target-Model")}
        headers = {"Content-Type": "text/csv", "Accept": "text/csv", **sent}
        answer = await house.client.post("/invocations", data=b"1,2", headers=headers)
        assert (answer.status, answer.content_type) == (200, "text/csv")
        told = house.worker.seen[0][0]
        assert (told[wire.CONTENT_TYPE], told[wire.ACCEPT]) == ("text/csv", "text/csv")
        assert {name.lower(): told.get(name.lower()) for name in sent} == {n.lower(): v for n, v in sent.items()}

    run(talk, own_formats=False)


@pytest.mark.parametrize(("status", "passes"), [(200, True), (400, False), (500, False)])
def test_the_warm_up_passes_only_with_200(run: Run, status: int, passes: bool) -> None:
    async def talk(house: House) -> None:
        house.worker.status, house.worker.body = status, b'{"message": "cannot decode"}'
        if passes:
            await house.door._warm_up(house.door.models_loaded()[0])
        else:
            with pytest.raises(RequestError, match=r"warm-up prediction failed: .*cannot decode"):
                await house.door._warm_up(house.door.models_loaded()[0])

    run(talk)
