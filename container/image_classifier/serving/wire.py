"""Names that the front door and the workers share: headers, variables, files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

REQUEST_ID = "x-request-id"
OPTIONS = "x-classifier-options"  # see formats.Options
CONTENT_TYPE = "x-classifier-content-type"  # for a script, as the next
ACCEPT = "x-classifier-accept"
SAGEMAKER = "x-amzn-sagemaker-"  # custom attributes, ids, targets: for a script, and what it says back
BODY = "x-classifier-body"  # the name of the file that holds the body: see spool.py
ANSWER_FILE = "x-classifier-answer-file"  # the name of the file for the answer; of an answer: it is there
# Of an answer, in seconds and pictures: decode=0.0123,forward=0.0345,encode=0.0002,records=1,together=4
STAGES = "x-classifier-stages"
MANY = "x-classifier-many"  # the body may hold many pictures
ALONE = "x-classifier-alone"  # no other request is at work: all cores are free for this one
GROWN = "x-classifier-grown"  # of an answer: the worker with this process id wants to be replaced
DEVICE_LOST = "device_lost"  # code of an error: the worker cannot use its GPU any more, and ends
LINE = "workers.sock"  # in the private folder: where a worker calls in, and says of itself
MODEL, PID = "x-classifier-model", "x-classifier-pid"
FOLDER_ENV = "CLASSIFIER_PRIVATE_DIR"  # of a worker: the folder that it shares with the front door, see private.py
ALONE_THREADS_ENV = "CLASSIFIER_ALONE_THREADS"  # of a worker, for such a request


def load_error_file(folder: Path, model: str) -> Path:
    """Where a worker says why it could not load a model; MMS only says that it could not."""
    return folder / f"load-error-{model}"


def of_sagemaker(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What SageMaker passes on in both directions: custom attributes, ids, targets, sessions."""
    return {name: value for name, value in headers.items() if name.lower().startswith(SAGEMAKER)}
