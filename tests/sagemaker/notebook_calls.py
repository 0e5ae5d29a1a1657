"""What users of the SDK write in their notebooks: upload_data, Estimator, tuner, best_estimator, deploy, predict.

notebook_calls.py PICTURES IMAGE ROLE BUCKET -> the predictor's answer on the last line
"""

import json
import sys
import time
from pathlib import Path

from sagemaker.estimator import Estimator
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter

import sagemaker

pictures, image_uri, role, bucket = sys.argv[1:]
sess = sagemaker.Session(default_bucket=bucket)
inputs = sess.upload_data(path=pictures, bucket=bucket, key_prefix="dogImages")

estimator = Estimator(
    image_uri=image_uri,
    role=role,
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{bucket}/breeds",
    sagemaker_session=sess,
    hyperparameters={
        "architecture": "shufflenet_v2_x0_5",
        "pretrained": False,
        "freeze-backbone": "False",
        "image-size": 32,
        "debug": "off",
    },
)
tuner = HyperparameterTuner(
    estimator,
    objective_metric_name="average test loss",
    objective_type="Minimize",
    hyperparameter_ranges={
        "learning_rate": ContinuousParameter(1e-4, 1e-2),
        "batch_size": IntegerParameter(8, 32),
        "epochs": IntegerParameter(3, 10),
    },
    metric_definitions=[
        {"Name": "average test loss", "Regex": r"Test set: Average loss: ([0-9\.]+)"},
        {"Name": "val_loss", "Regex": "val_loss=([0-9.+-eE]+);"},
    ],
    max_jobs=2,
    max_parallel_jobs=2,
    early_stopping_type="Auto",
)
tuner.fit({"training": inputs}, wait=True)
best_estimator = tuner.best_estimator()
print(json.dumps({"best": tuner.best_training_job(), "chosen": best_estimator.hyperparameters()}))

predictor = best_estimator.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    serializer=IdentitySerializer("image/jpeg"),
    wait=False,  # the SDK would look every 30 s
)
while sess.describe_endpoint(predictor.endpoint_name)["EndpointStatus"] == "Creating":
    time.sleep(1)
assert isinstance(predictor, Predictor)
picture = next((Path(pictures) / "test").rglob("*.png")).read_bytes()
answer = json.loads(predictor.predict(picture))
predictor.delete_model()
predictor.delete_endpoint()
print(json.dumps(answer))
