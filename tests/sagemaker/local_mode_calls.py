"""The SDK's own local mode: its reading of the contract, with docker compose in the place of SageMaker.

local_mode_calls.py FOLDER IMAGE HYPERPARAMETERS -> the answer as JSON on the last line; pictures in FOLDER/data, those
of a batch in FOLDER/batch and its answers in FOLDER/answers
"""

import json
import socket
import sys
from pathlib import Path

from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.serializers import IdentitySerializer

folder, image_uri, hyperparameters = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
sdk = LocalSession()
sdk.config = {"local": {"local_code": True, "container_root": str(folder), "serving_port": port}}

estimator = Estimator(
    image_uri,
    "arn:aws:iam::123456789012:role/SageMaker",
    instance_count=2,
    instance_type="local",
    output_path=f"file://{folder}/results",
    sagemaker_session=sdk,
    hyperparameters=hyperparameters,
)
estimator.fit({"training": f"file://{folder}/data"})
predictor = estimator.deploy(
    initial_instance_count=1,
    instance_type="local",
    serializer=IdentitySerializer("image/png"),
    deserializer=JSONDeserializer(),
    wait=False,  # the endpoint is healthy by then; the SDK would look again after 30 s
)
try:
    answer = predictor.predict(next((folder / "data" / "test").rglob("*.png")).read_bytes())
finally:
    predictor.delete_endpoint()
batch = estimator.transformer(
    1, "local", strategy="SingleRecord", accept="application/json", output_path=f"file://{folder}/answers"
)
batch.transform(f"file://{folder}/batch", content_type="image/png", wait=False)  # done by then; waiting asks AWS
print(json.dumps(answer))
