"""CreateEndpoint and its sisters: an update keeps the old variants until the new ones are healthy."""

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from local_sagemaker.aws import LogStream, arn
from local_sagemaker.endpoint_record import pending_of, region_of, shown_of, summary_of
from local_sagemaker.errors import ApiError, in_use, invalid
from local_sagemaker.listing import page
from local_sagemaker.models import CONFIG, MODEL, container_of
from local_sagemaker.platform import Platform
from local_sagemaker.rollout import Rollout, Stage, plan
from local_sagemaker.store import Record, public
from local_sagemaker.variant import LOG_GROUP, StartError, Variant

Operation = Callable[[Record, str], Record]
KIND = "Endpoint"
_BUSY = ("Creating", "Updating", "RollingBack", "Deleting")
_SUMMARY = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
_LOOK_AFTER_EVERY = 1.0
_DRAIN_WITHIN, _DRAIN_EVERY = 60, 0.05


class Endpoints:
    """Endpoints and the machines behind them."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._store = platform, platform.store
        self._live: dict[str, list[Variant]] = {}
        self._new: dict[str, tuple[list[Variant], float]] = {}  # of an update that goes on, with their share
        self._lock = threading.Lock()
        self.operations: Mapping[str, Operation] = {
            "CreateEndpoint": self.create,
            "UpdateEndpoint": self.update,
            "DescribeEndpoint": lambda request, _: public(self._store.get(KIND, request["EndpointName"])),
            "DeleteEndpoint": self.delete,
            "ListEndpoints": self.listed,
        }

    def create(self, request: Record, region: str) -> Record:
        """Begin to start an endpoint."""
        name = request["EndpointName"]
        self._store.get(CONFIG, request["EndpointConfigName"])
        record = {**request, "EndpointArn": arn(region, "endpoint", name), "EndpointStatus": "Creating"}
        self._store.create(KIND, name, record)
        self._start_soon(name, request["EndpointConfigName"])
        return {"EndpointArn": record["EndpointArn"]}

    def update(self, request: Record, _region: str) -> Record:
        """Begin to put other variants behind an endpoint."""
        name, config = request["EndpointName"], request["EndpointConfigName"]
        hosts = self._store.get(CONFIG, config)["ProductionVariants"][0].get("InitialInstanceCount", 1)
        rollout = plan(request.get("DeploymentConfig"), hosts, region_of(self._store.get(KIND, name)))

        def change(record: Record) -> None:
            if record["EndpointStatus"] in _BUSY:
                raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')
            record["EndpointStatus"] = "Updating"

        record = self._store.change(KIND, name, change)
        self._start_soon(name, config, rollout)
        return {"EndpointArn": record["EndpointArn"]}

    def delete(self, request: Record, _region: str) -> Record:
        """Stop an endpoint; it is gone when its machines are."""
        name = request["EndpointName"]
        if self._store.get(KIND, name)["EndpointStatus"] in _BUSY:
            raise in_use(f'Cannot delete endpoint "{name}" while it is created or updated.')
        self._store.update(KIND, name, EndpointStatus="Deleting")
        threading.Thread(target=self._delete, args=(name,), daemon=True).start()
        return {}

    def listed(self, request: Record, _region: str) -> Record:
        """Endpoints by status and by part of the name."""
        wanted = request.get("StatusEquals")
        found = [
            record
            for record in self._store.all(KIND)
            if wanted in (None, record["EndpointStatus"]) and request.get("NameContains", "") in record["EndpointName"]
        ]
        return page(request, "Endpoints", [{member: record[member] for member in _SUMMARY} for record in found])

    @contextmanager
    def variant(self, name: str, wanted: str = "") -> Iterator[Variant]:
        """The variant that answers a request; it is not ended before the block is left."""
        with self._lock:
            chosen = self._choose(name, wanted)
            if chosen.busy >= chosen.serverless.get("MaxConcurrency", chosen.busy + 1):
                raise ApiError("ThrottlingException", f"Endpoint {name} is at its MaxConcurrency; ask again.", 429)
            chosen.busy += 1
        try:
            yield chosen
        finally:
            with self._lock:
                chosen.busy -= 1

    def _choose(self, name: str, wanted: str) -> Variant:
        """The wanted variant, else one by weight."""
        status = self._store.get(KIND, name)["EndpointStatus"]
        new, share = self._new.get(name, ([], 0.0))
        variants = new if random.random() < share else self._live.get(name, [])
        live = [each for each in variants if wanted in ("", each.name)]
        if not live:
            reason = f"has no variant {wanted!r}" if wanted else f"is {status}, not InService"
            raise ApiError("ValidationError", f"Endpoint {name} {reason}.")
        weights = [float(each.config.get("InitialVariantWeight", 1)) for each in live]
        return random.choices(live, weights if any(weights) else None)[0]

    def config(self, name: str) -> Record:
        """The configuration that an endpoint was last given."""
        return self._store.get(CONFIG, self._store.get(KIND, name)["EndpointConfigName"])

    def region(self, name: str) -> str:
        """Where an endpoint was made."""
        return region_of(self._store.get(KIND, name))

    def recover(self) -> None:
        """After a restart: what was in service is started again."""
        for record in self._store.all(KIND):
            name = record["EndpointName"]
            if record["EndpointStatus"] == "Deleting":
                self._store.delete(KIND, name)
            elif record["EndpointStatus"] != "Failed":
                self._store.update(KIND, name, EndpointStatus="Creating")
                self._start_soon(name, record["EndpointConfigName"])

    def close(self) -> None:
        """Stop all machines; the records stay."""
        for name in list(self._live):
            self._stop(self._live.pop(name))
        for started, _ in list(self._new.values()):
            self._stop(started)

    def _start_soon(self, name: str, config: str, rollout: Rollout | None = None) -> None:
        threading.Thread(target=self._start, args=(name, config, rollout), daemon=True).start()

    def _start(self, name: str, config_name: str, rollout: Rollout | None) -> None:
        started: list[Variant] = []
        try:
            for variant in self._variants(name, config_name):
                started.append(variant)
                self._tell(name, config_name, started, "Creating")
                variant.start()
            alarm = self._go_over(name, config_name, started, rollout) if rollout else ""
            if alarm:
                self._store.update(KIND, name, EndpointStatus="RollingBack")
                raise StartError(f"The alarm {alarm} of AutoRollbackConfiguration sounded; rolled back.")
        except (StartError, ApiError) as error:
            self._failed(name, started, str(error))
        except Exception as error:
            traceback.print_exc()
            self._failed(name, started, f"InternalServerError: {type(error).__name__}: {error}")
        else:
            self._swap(name, config_name, started)

    def _go_over(self, name: str, config_name: str, started: list[Variant], rollout: Rollout) -> str:
        """Give new variants their requests, stage by stage; the alarm that ended it, or nothing."""

        def enter(stage: Stage) -> None:
            with self._lock:
                self._new[name] = (started, stage.share)
            self._tell(name, config_name, started, stage.word, f"{stage.share:.0%} of the requests go to the new model")

        try:
            return rollout.go(enter)
        finally:
            with self._lock:
                self._new.pop(name, None)

    def _tell(self, name: str, config_name: str, started: list[Variant], status: str, message: str = "") -> None:
        """Say how far an update is."""
        pending = pending_of(config_name, started, status, message)
        self._store.update(KIND, name, PendingDeploymentSummary=pending)

    def _variants(self, name: str, config_name: str) -> list[Variant]:
        config = self._store.get(CONFIG, config_name)
        region = region_of(self._store.get(KIND, name))
        made = []
        for variant in config["ProductionVariants"]:
            container = container_of(self._store.get(MODEL, variant["ModelName"]))
            number = f"{variant['VariantName']}-{time.time_ns()}"
            stream = LogStream(region, f"{LOG_GROUP}/{name}", number)
            made.append(
                Variant(self._platform, variant, container, self._platform.place("endpoints", name) / number, stream)
            )
        return made

    def _swap(self, name: str, config_name: str, started: list[Variant]) -> None:
        """New requests go to the new variants from here on; the old ones end when they have answered theirs."""
        with self._lock:
            old, self._live[name] = self._live.get(name, []), started
        shown = shown_of(self._store.get(CONFIG, config_name))
        summaries = [summary_of(variant) for variant in started]

        def change(record: Record) -> None:
            for member in ("FailureReason", "PendingDeploymentSummary", "AsyncInferenceConfig", "DataCaptureConfig"):
                record.pop(member, None)
            record.update(EndpointStatus="InService", EndpointConfigName=config_name, ProductionVariants=summaries)
            record.update(shown)

        self._store.change(KIND, name, change)
        threading.Thread(target=self._look_after, args=(name, started), daemon=True).start()
        self._stop(old)

    def _failed(self, name: str, started: list[Variant], reason: str) -> None:
        """A first start has failed for good; an update leaves what was there."""
        self._stop(started)
        status = "InService" if self._live.get(name) else "Failed"

        def change(record: Record) -> None:
            record.pop("PendingDeploymentSummary", None)
            record.update(EndpointStatus=status, FailureReason=reason[:1024])

        self._store.change(KIND, name, change)

    def _look_after(self, name: str, variants: list[Variant]) -> None:
        """Replace machines that have ended by themselves or answer no pings, as the platform does."""
        while self._live.get(name) is variants:
            for variant in variants:
                if (not variant.alive or variant.hangs) and self._live.get(name) is variants:
                    self._replace(variant)
            time.sleep(_LOOK_AFTER_EVERY)

    def _replace(self, variant: Variant) -> None:
        try:
            if variant.machine:
                variant.machine.stop()
            variant.start()
        except (StartError, OSError):  # its files may be gone: the endpoint is deleted meanwhile
            time.sleep(_LOOK_AFTER_EVERY)

    def _delete(self, name: str) -> None:
        self._stop(self._live.pop(name, []))
        self._store.delete(KIND, name)

    @staticmethod
    def _stop(variants: list[Variant]) -> None:
        end = time.monotonic() + _DRAIN_WITHIN
        while any(variant.busy for variant in variants) and time.monotonic() < end:
            time.sleep(_DRAIN_EVERY)
        for variant in variants:
            if variant.machine:
                variant.machine.tell()
        for variant in variants:
            variant.stop()
