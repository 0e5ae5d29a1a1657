"""Data capture: requests to an endpoint and its answers as lines of JSON in S3.

Source: SageMaker Developer Guide, "Capture data from real-time endpoint": the layout of keys and lines.
"""

import base64
import json
import random
import time
import uuid

from local_sagemaker.aws import Objects, Uri
from local_sagemaker.store import Record
from local_sagemaker.variant import Answer, Variant


def capture(objects: Objects, config: Record, variant: Variant, asked: tuple[str, bytes], answer: Answer) -> None:
    """Keep one exchange, when the configuration wants it and the draw says so.

    Args:
        objects: of S3.
        config: DataCaptureConfig.
        variant: that has answered.
        asked: content type and body of the request.
        answer: of the model.
    """
    if not config.get("EnableCapture") or random.random() * 100 >= config["InitialSamplingPercentage"]:
        return
    modes = {one["CaptureMode"] for one in config["CaptureOptions"]}
    both = "InputAndOutput" in modes
    data = {}
    if both or "Input" in modes:
        data["endpointInput"] = _side(config, "INPUT", *asked)
    if both or "Output" in modes:
        kind = {name.lower(): value for name, value in answer.headers.items()}.get("content-type", "")
        data["endpointOutput"] = _side(config, "OUTPUT", kind, answer.body)
    now, number = time.gmtime(), str(uuid.uuid4())
    meta = {"eventId": number, "inferenceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", now)}
    line = {"captureData": data, "eventMetadata": meta, "eventVersion": "0"}
    hour = time.strftime("%Y/%m/%d/%H", now)
    name = time.strftime("%M-%S-", now) + f"{number}.jsonl"
    place = Uri.parse(config["DestinationS3Uri"]).below(variant.place.parent.name, variant.name, hour, name)
    objects.write(place, json.dumps(line).encode() + b"\n")


def _side(config: Record, mode: str, kind: str, body: bytes) -> Record:
    """One side of an exchange; what is not declared to be text is base64."""
    headers = config.get("CaptureContentTypeHeader") or {}
    text = {"CSV": headers.get("CsvContentTypes") or [], "JSON": headers.get("JsonContentTypes") or []}
    encoding = next((word for word, kinds in text.items() if kind in kinds), "BASE64")
    data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode(errors="replace")
    return {"observedContentType": kind, "mode": mode, "data": data, "encoding": encoding}
