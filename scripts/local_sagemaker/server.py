"""Puts the parts together and listens."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

import ways
from local_sagemaker import leftovers, roles
from local_sagemaker.aws import Objects
from local_sagemaker.endpoints import Endpoints
from local_sagemaker.front import Front, Page
from local_sagemaker.invocations import PREFIX, Invocations
from local_sagemaker.machines import Machines
from local_sagemaker.models import Models
from local_sagemaker.platform import Platform
from local_sagemaker.status import JOB, STATUS, Status
from local_sagemaker.store import Store
from local_sagemaker.tags import Tags
from local_sagemaker.training_jobs import TrainingJobs
from local_sagemaker.transforms import TransformJobs
from local_sagemaker.tuning_jobs import TuningJobs

INTERRUPT = "/local/interrupt/"
BUCKET = "local-sagemaker"  # there from the beginning


def interrupting(training: TrainingJobs) -> Page:
    """POST /local/interrupt/NAME takes a spot job's instance away: what AWS does when it likes, and no API can ask."""

    def page(request: Request) -> Response:
        return Response(json.dumps(training.interrupt(request.path.removeprefix(INTERRUPT))))

    return page


class Quiet(MotoRequestHandler):
    """Says nothing of requests that went well."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only what failed here."""
        if str(code).startswith("5"):
            super().log_request(code, size)


@contextmanager
def serving(
    folder: Path, host: str, port: int, way: ways.InImage | ways.InVenv, debugger: bool = True
) -> Iterator[Any]:
    """A server that listens while the block runs; the WSGI server, whose port is known."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = way.engine if isinstance(way, ways.InImage) else None
    leftovers.end(folder, engine)
    with leftovers.guarded(folder, engine):
        parts = Server(folder, way, debugger)
        parts.recover()
        server = make_server(host, port, parts.application, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            parts.endpoints.close()


class Server:
    """All parts, around one store.

    Args:
        folder: for all files of the server.
        way: how the image's doors are opened here.
        debugger: whether the account has SageMaker Debugger.
    """

    def __init__(self, folder: Path, way: ways.InImage | ways.InVenv, debugger: bool) -> None:
        store = Store(folder / "state.sqlite")
        platform = Platform(folder, store, Objects(store), Machines(way, folder))
        platform.objects.make_bucket(BUCKET)
        roles.prepare()
        training, models = TrainingJobs(platform, debugger), Models(platform)
        self.endpoints = Endpoints(platform)
        status = Status(platform)
        tuning, transforms = TuningJobs(platform, training), TransformJobs(platform)
        self._recovering = (training, tuning, transforms, self.endpoints)
        parts = (*self._recovering, models, Tags(store))
        self.application = Front(
            DomainDispatcherApplication(create_backend_app),
            {name: operation for part in parts for name, operation in part.operations.items()},
            {
                PREFIX: Invocations(self.endpoints, platform.objects),
                INTERRUPT: interrupting(training),
                STATUS: status.status,
                JOB: status.job,
                "/": status.page,
            },
            platform.objects,
        )

    def recover(self) -> None:
        """Go on after a restart."""
        for part in self._recovering:
            part.recover()
