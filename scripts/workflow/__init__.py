"""From the desk to SageMaker: upload, train, tune, deploy, predict, transform, report, clean."""

import logging
import os

os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")  # read when the SDK is imported
for _each in ("sagemaker", "sagemaker.config", "botocore"):  # they tell of each place they have looked into
    logging.getLogger(_each).setLevel(logging.ERROR)
