"""Names that the front door and the workers share: headers, variables, files."""

from pathlib import Path

REQUEST_ID = "x-request-id"
OPTIONS = "x-classifier-options"  # see formats.Options; MMS's codec is slow at headers, so all are in one
CONTENT_TYPE = "x-classifier-content-type"  # for a script, as the next
ACCEPT = "x-classifier-accept"
SAGEMAKER = "x-amzn-sagemaker-"  # custom attributes, ids, targets: for a script, and what it says back
ANSWERED = "x-classifier-answered"  # set by the handler: without it, the answer is MMS's own
# its values, of one length (see worker.py): the body is the answer, or the name of the file that holds it
HERE, FILE = "here", "file"
BODY = "x-classifier-body"  # the name of the file that holds the body: see spool.py
ANSWER_FILE = "x-classifier-answer-file"  # the name of the file for the answer, where that is large
HEAD = "x-classifier-head"  # so many bytes before the body are a script's own headers, in JSON: Java reads no long ones
# Of an answer, in seconds and pictures: decode=0.0123,forward=0.0345,encode=0.0002,records=1,together=4
STAGES = "x-classifier-stages"
ALONE = "x-classifier-alone"  # no other request is at work: all cores are free for this one
GROWN = "x-classifier-grown"  # of an answer: the worker with this process id wants to be replaced; 0 is none
TOGETHER = "x-classifier-together"  # the body holds several requests, or their answers: see batches.py
DEVICE_LOST = "device_lost"  # code of an error: the worker cannot use its GPU any more, and ends
FOLDER_ENV = "CLASSIFIER_PRIVATE_DIR"  # of a worker: the folder that it shares with the front door, see private.py
ALONE_THREADS_ENV = "CLASSIFIER_ALONE_THREADS"  # of a worker, for such a request


def load_error_file(folder: Path, model: str) -> Path:
    """Where a worker says why it could not load a model; MMS only says that it could not."""
    return folder / f"load-error-{model}"


def loaded_file(folder: Path, model: str, pid: int | str) -> Path:
    """Where a worker says that it has loaded a model; MMS calls workers ready that still load, or have died."""
    return folder / f"loaded-{model}-{pid}"
