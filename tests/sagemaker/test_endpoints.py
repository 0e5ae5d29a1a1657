"""Endpoints: started, asked, updated without a gap, ended; many models; answers by way of S3."""

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from started import BUCKET, ROLE, Api, wait

GROUP = "/aws/sagemaker/Endpoints"


def configure(api: Api, name: str, artifact: str, mode: str = "SingleModel", **more: Any) -> None:
    """A model and an endpoint configuration of one name."""
    container = {"Image": "image", "ModelDataUrl": artifact, "Mode": mode}
    api.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    api.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **more)


def settled(api: Api, name: str) -> Any:
    """An endpoint that is neither made nor changed any more."""
    read = lambda: api.sagemaker.describe_endpoint(EndpointName=name)  # noqa: E731
    return wait(read, lambda record: record["EndpointStatus"] in ("InService", "Failed"))


def deploy(api: Api, name: str, artifact: str, **more: Any) -> Any:
    configure(api, name, artifact, **more)
    api.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return settled(api, name)


def invoke(api: Api, name: str, body: bytes = b"picture", **more: Any) -> Any:
    runtime = api.client("sagemaker-runtime")
    return runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="image/png", **more)


def said(answer: Any) -> Any:
    return json.loads(answer["Body"].read())


def test_an_endpoint_answers_until_it_is_deleted(api: Api) -> None:
    record = deploy(api, "first", api.model("dogs"))
    assert record["EndpointStatus"] == "InService"
    assert record["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    answer = invoke(api, "first", CustomAttributes="k=3")
    assert answer["CustomAttributes"] == "k=3"
    assert said(answer) == {"model": "dogs", "body": "picture", "type": "image/png", "batch": None, "secret": None}
    wait(lambda: "\n".join(api.log_lines(f"{GROUP}/first", "")), lambda log: "/invocations" in log)
    api.sagemaker.delete_endpoint(EndpointName="first")
    wait(lambda: api.sagemaker.list_endpoints(NameContains="first")["Endpoints"], lambda found: not found)
    with pytest.raises(ClientError, match='Could not find Endpoint "first"'):
        invoke(api, "first")


def test_an_update_serves_from_the_old_model_until_the_new_one_is_healthy(api: Api) -> None:
    deploy(api, "updated", api.model("old"))
    configure(api, "updated-2", api.model("new"))
    models: list[str] = []
    errors: list[Exception] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                models.append(said(invoke(api, "updated"))["model"])
            except Exception as error:
                errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    api.sagemaker.update_endpoint(EndpointName="updated", EndpointConfigName="updated-2")
    assert settled(api, "updated")["EndpointConfigName"] == "updated-2"
    time.sleep(0.5)
    enough.set()
    asking.join()
    assert not errors
    assert set(models) == {"old", "new"}
    assert models == sorted(models, reverse=True)  # "old" first, and never again after the first "new"
    api.sagemaker.delete_endpoint(EndpointName="updated")


def test_an_update_that_fails_leaves_the_old_model_in_service(api: Api) -> None:
    deploy(api, "kept", api.model("good"))
    configure(api, "kept-2", api.model("broken"))
    api.sagemaker.update_endpoint(EndpointName="kept", EndpointConfigName="kept-2")
    record = settled(api, "kept")
    assert (record["EndpointStatus"], record["EndpointConfigName"]) == ("InService", "kept")
    assert "the model is broken" in record["FailureReason"]
    assert said(invoke(api, "kept"))["model"] == "good"
    api.sagemaker.delete_endpoint(EndpointName="kept")


@pytest.mark.parametrize(
    ("name", "artifact", "reason"),
    [
        ("sick", None, "did not pass the ping health check.*the model is broken"),
        ("absent", f"s3://{BUCKET}/no/model.tar.gz", "Could not find model data"),
        ("torn", "", "cannot be unpacked"),
    ],
)
def test_an_endpoint_that_cannot_start_says_why(api: Api, name: str, artifact: str | None, reason: str) -> None:
    made = {None: lambda: api.model("broken"), "": lambda: api.put("models/torn.tar.gz", b"no archive")}
    record = deploy(api, name, made.get(artifact, lambda: artifact)())
    assert record["EndpointStatus"] == "Failed"
    import re

    assert re.search(reason, record["FailureReason"])
    with pytest.raises(ClientError, match="is Failed, not InService"):
        invoke(api, name)
    api.sagemaker.delete_endpoint(EndpointName=name)


def test_the_models_error_is_a_model_error(api: Api) -> None:
    deploy(api, "strict", api.model("refuses"))
    with pytest.raises(ClientError) as caught:
        invoke(api, "strict")
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["OriginalStatusCode"]) == ("ModelError", 400)
    assert json.loads(answer["OriginalMessage"]) == {"message": "no picture"}
    with pytest.raises(ClientError, match="6291456 at most"):
        invoke(api, "strict", b"x" * 6_291_457)
    api.sagemaker.delete_endpoint(EndpointName="strict")


def test_a_machine_that_ends_is_replaced(api: Api) -> None:
    deploy(api, "mortal", api.model("phoenix"))
    with pytest.raises(ClientError, match="ModelError"):
        invoke(api, "mortal", b"end")

    def ask() -> str:
        try:
            return str(said(invoke(api, "mortal"))["model"])
        except ClientError as error:
            return str(error)

    wait(ask, lambda model: model == "phoenix")
    api.sagemaker.delete_endpoint(EndpointName="mortal")


def test_a_machine_that_answers_no_pings_is_replaced(api: Api) -> None:
    deploy(api, "stiff", api.model("sleeper"))
    assert said(invoke(api, "stiff", b"hang"))["model"] == "sleeper"
    log = lambda: [line for line in api.log_lines(f"{GROUP}/stiff", "") if "GET /ping" in line]  # noqa: E731
    before = len(log())
    wait(log, lambda lines: len(lines) > before, 60)  # only a new one says that it has answered a ping
    wait(lambda: invoke(api, "stiff"), lambda answer: said(answer)["model"] == "sleeper")
    api.sagemaker.delete_endpoint(EndpointName="stiff")


def test_many_models_behind_one_endpoint_make_room_for_each_other(api: Api) -> None:
    for name in ("ant", "bee"):
        api.model(name)
    deploy(api, "many", f"s3://{BUCKET}/models/", mode="MultiModel")
    for name in ("ant", "bee", "ant"):  # the stand-in has room for one
        assert said(invoke(api, "many", TargetModel=f"{name}.tar.gz"))["model"] == name
    with pytest.raises(ClientError, match="Could not find model data"):
        invoke(api, "many", TargetModel="cow.tar.gz")
    with pytest.raises(ClientError, match="TargetModel must be given"):
        invoke(api, "many")
    api.sagemaker.delete_endpoint(EndpointName="many")


def test_an_asynchronous_answer_comes_by_way_of_s3(api: Api) -> None:
    place = {"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/answers"}}
    deploy(api, "patient", api.model("later"), AsyncInferenceConfig=place)
    source = api.put("questions/1.png", b"question")
    runtime = api.client("sagemaker-runtime")
    kind = {"ContentType": "image/png"}
    answer = runtime.invoke_endpoint_async(EndpointName="patient", InputLocation=source, InferenceId="one", **kind)
    assert answer["OutputLocation"] == f"s3://{BUCKET}/answers/one.out"
    wait(lambda: api.keys("answers/"), lambda keys: "answers/one.out" in keys)
    body = api.s3.get_object(Bucket=BUCKET, Key="answers/one.out")["Body"].read()
    assert (json.loads(body)["body"], json.loads(body)["type"]) == ("question", "image/png")
    lost = runtime.invoke_endpoint_async(EndpointName="patient", InputLocation=f"s3://{BUCKET}/none", InferenceId="two")
    assert lost["FailureLocation"] == f"s3://{BUCKET}/answers/two-error.out"
    wait(lambda: api.keys("answers/"), lambda keys: "answers/two-error.out" in keys)
    with pytest.raises(ClientError, match="does not support this inference type") as caught:
        invoke(api, "patient")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match=r"'InvocationTimeoutSeconds' failed .* less than or equal to 3600"):
        runtime.invoke_endpoint_async(EndpointName="patient", InputLocation=source, InvocationTimeoutSeconds=3601)
    with pytest.raises(ClientError, match=r"'InputLocation' failed .* regular expression"):
        runtime.invoke_endpoint_async(EndpointName="patient", InputLocation="questions/1.png")
    api.sagemaker.delete_endpoint(EndpointName="patient")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"CustomAttributes": "a" * 1025}, r"'CustomAttributes' failed .* length less than or equal to 1024"),
        ({"InferenceId": "i" * 65}, r"'InferenceId' failed .* length less than or equal to 64"),
        ({"TargetVariant": "no_variant"}, r"'TargetVariant' failed .* regular expression"),
        ({"SessionId": "s" * 257}, r"'SessionId' failed .* length less than or equal to 256"),
        ({"Accept": "a" * 1025}, r"'Accept' failed .* length less than or equal to 1024"),
    ],
)
def test_a_header_that_breaks_the_runtimes_model_is_refused(api: Api, header: dict[str, str], message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        invoke(api, "anything", **header)
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_a_configuration_of_an_unknown_model_is_refused(api: Api) -> None:
    variant = {"VariantName": "a", "ModelName": "nobody", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    with pytest.raises(ClientError, match='Could not find Model "nobody"'):
        api.sagemaker.create_endpoint_config(EndpointConfigName="none", ProductionVariants=[variant])
