"""CreateTransformJob and its sisters: every object below a prefix through `serve`, its answer beside it as NAME.out."""

import http.client
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from local_sagemaker.aws import LogStream, Uri, arn
from local_sagemaker.errors import ApiError, invalid
from local_sagemaker.listing import page
from local_sagemaker.models import MODEL, container_of
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record, public
from local_sagemaker.training_jobs import ENDED
from local_sagemaker.variant import StartError, Variant

Operation = Callable[[Record, str], Record]
KIND = "TransformJob"
_LOG_GROUP = "/aws/sagemaker/TransformJobs"
_MEGABYTE = 2**20
_SUMMARY = [
    "TransformJobName",
    "TransformJobArn",
    "CreationTime",
    "TransformEndTime",
    "LastModifiedTime",
    "TransformJobStatus",
]


class Stopped(Exception):
    """StopTransformJob came."""


class TransformJobs:
    """Transform jobs, each with a machine of its own."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._store = platform, platform.store
        self.operations: Mapping[str, Operation] = {
            "CreateTransformJob": self.create,
            "DescribeTransformJob": lambda request, _: public(self._store.get(KIND, request["TransformJobName"])),
            "StopTransformJob": self.stop,
            "ListTransformJobs": self.listed,
        }

    def create(self, request: Record, region: str) -> Record:
        """Begin a job."""
        name = request["TransformJobName"]
        _check(request)
        self._store.get(MODEL, request["ModelName"])
        record = {**request, "TransformJobArn": arn(region, "transform-job", name), "TransformJobStatus": "InProgress"}
        self._store.create(KIND, name, record)
        threading.Thread(target=self._run, args=(name,), daemon=True).start()
        return {"TransformJobArn": record["TransformJobArn"]}

    def stop(self, request: Record, _region: str) -> Record:
        """End a job after the requests that are on their way."""
        name = request["TransformJobName"]
        if self._store.get(KIND, name)["TransformJobStatus"] != "InProgress":
            raise invalid(f"The transform job {name} does not run and cannot be stopped.")
        self._store.update(KIND, name, TransformJobStatus="Stopping")
        return {}

    def listed(self, request: Record, _region: str) -> Record:
        """Jobs by status and by part of the name."""
        wanted = request.get("StatusEquals")
        found = [
            job
            for job in self._store.all(KIND)
            if request.get("NameContains", "") in job["TransformJobName"]
            and wanted in (None, job["TransformJobStatus"])
        ]
        return page(
            request, "TransformJobSummaries", [{key: job[key] for key in _SUMMARY if key in job} for job in found]
        )

    def recover(self) -> None:
        """After a restart: what ran then has ended without a result."""
        for job in self._store.all(KIND):
            if job["TransformJobStatus"] not in ENDED:
                self._end(job["TransformJobName"], "Failed", "InternalServerError: local_sagemaker ended while it ran.")

    def _run(self, name: str) -> None:
        job = self._store.update(KIND, name, TransformStartTime=time.time())
        variant = self._variant(job)
        try:
            variant.start()
            self._transform(job, variant)
            self._end(name, "Completed")
        except Stopped:
            self._end(name, "Stopped")
        except (StartError, ApiError) as error:
            self._end(name, "Failed", str(error))
        except Exception as error:
            traceback.print_exc()
            self._end(name, "Failed", f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            variant.stop()

    def _variant(self, job: Record) -> Variant:
        name, region = job["TransformJobName"], job["TransformJobArn"].split(":")[3]
        container = container_of(self._store.get(MODEL, job["ModelName"]))
        variables = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(job.get("MaxPayloadInMB", 6)),
            "SAGEMAKER_BATCH_STRATEGY": {"MultiRecord": "MULTI_RECORD"}.get(
                job.get("BatchStrategy", ""), "SINGLE_RECORD"
            ),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(job.get("MaxConcurrentTransforms", 1)),
            **(job.get("Environment") or {}),
        }
        stream = LogStream(region, _LOG_GROUP, f"{name}/i-local")
        place = self._platform.place("transform-jobs", name)
        config = {"VariantName": "transform", "InstanceType": job["TransformResources"]["InstanceType"]}
        return Variant(self._platform, config, container, place, stream, variables)

    def _transform(self, job: Record, variant: Variant) -> None:
        source = Uri.parse(job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        keys = [key for key in self._platform.objects.names(source) if not key.endswith("/")]
        if not keys:
            raise ApiError("ClientError", f"No S3 objects found under {source}; check the prefix.")
        with ThreadPoolExecutor(job.get("MaxConcurrentTransforms") or 1) as workers:
            list(workers.map(lambda key: self._one(job, variant, source, key), keys))

    def _one(self, job: Record, variant: Variant, source: Uri, key: str) -> None:
        if self._store.get(KIND, job["TransformJobName"])["TransformJobStatus"] == "Stopping":
            raise Stopped
        content = self._platform.objects.read(Uri(source.bucket, key))
        if len(content) > (job.get("MaxPayloadInMB", 6) or 1024) * _MEGABYTE:
            raise ApiError("ClientError", f"{key} is larger than MaxPayloadInMB={job.get('MaxPayloadInMB', 6)}.")
        headers = {"Content-Type": job["TransformInput"].get("ContentType", "application/octet-stream")}
        if accept := job["TransformOutput"].get("Accept"):
            headers["Accept"] = accept
        answer = _ask(job, variant, content, headers)
        folder = source.key if source.key.endswith("/") or key == source.key else source.key + "/"
        name = key.removeprefix(folder) or key.rpartition("/")[2]
        output = Uri.parse(job["TransformOutput"]["S3OutputPath"]).below(f"{name}.out")
        self._platform.objects.write(output, answer)

    def _end(self, name: str, status: str, reason: str = "") -> None:
        more = {"FailureReason": reason[:1024]} if reason else {}
        self._store.update(KIND, name, TransformJobStatus=status, TransformEndTime=time.time(), **more)


def _ask(job: Record, variant: Variant, content: bytes, headers: Mapping[str, str]) -> bytes:
    """The answer to one object, asked for as often as the job allows."""
    client = job.get("ModelClientConfig") or {}
    said = ""
    for _ in range(1 + client.get("InvocationsMaxRetries", 3)):
        try:
            answer = variant.invoke(content, headers, client.get("InvocationsTimeoutInSeconds", 600))
        except (OSError, http.client.HTTPException) as error:
            said = f"did not answer: {error}"
            continue
        if answer.status < 300:
            return answer.body
        said = f"answered {answer.status}: {answer.body.decode(errors='replace')[:500]}"
        if answer.status < 500:
            break
    raise ApiError("ClientError", f"The model {said}")


def _check(request: Record) -> None:
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    if source["S3DataType"] != "S3Prefix" or request["TransformInput"].get("SplitType", "None") != "None":
        raise invalid("local_sagemaker transforms whole objects below an S3Prefix; say SplitType=None.")
    if request.get("DataProcessing", {}).get("JoinSource", "None") != "None":
        raise invalid("local_sagemaker joins no inputs to outputs; say JoinSource=None.")
    Uri.parse(request["TransformOutput"]["S3OutputPath"])
    Uri.parse(source["S3Uri"])
