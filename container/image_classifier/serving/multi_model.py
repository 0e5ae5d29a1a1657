"""Many models in one container: the calls SageMaker makes when SAGEMAKER_MULTI_MODEL=true.

Source: SageMaker Developer Guide, "Custom containers contract for multi-model endpoints".
"""

import asyncio
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from image_classifier.errors import RequestError
from image_classifier.serving.front_door import Door, Model, State

logger = logging.getLogger(__name__)

BODY_LIMIT = 1 << 16  # bytes of a request to load a model


@dataclass
class MultiModelDoor(Door):
    """Loads, lists, invokes and unloads models by name."""

    models: dict[str, Model] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.telemetry.gauge("classifier_models", "Models that are loaded.", lambda: len(self.models))

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See Door."""
        router.add_post("/models", self.load_model)
        router.add_get("/models", self.list_models)
        router.add_get("/models/{name}", self.describe)
        router.add_delete("/models/{name}", self.unload)
        router.add_post("/models/{name}/invoke", self.invoke)

    def models_loaded(self) -> list[Model]:
        """See Door."""
        return list(self.models.values())

    async def load(self) -> None:
        """Start MMS; models are loaded on request."""
        await self.server.start()
        logger.info("Ready: models are loaded on request.")
        self.state = State.READY

    async def watch(self) -> None:
        """Without a model, there is no worker to watch."""
        await asyncio.Event().wait()

    async def load_model(self, request: web.Request) -> web.Response:
        """Load the model that the body names: {"model_name": …, "url": directory}."""
        name, folder = await _load_request(request)
        if name in self.models or name in self.loading:
            raise RequestError(409, "already_loaded", f"The model {name} is loaded already.")
        if not folder.is_dir():
            raise RequestError(400, "bad_request", f"There is no directory {folder}.")
        self.loading.add(name)
        try:
            self.models[name] = self.opened(await self.server.load(folder), folder)
        finally:
            self.loading.discard(name)
        return web.json_response({"status": f"Model {name} loaded."})

    async def list_models(self, request: web.Request) -> web.Response:
        """All loaded models, in one page."""
        del request
        return web.json_response({"models": [_entry(name, model) for name, model in self.models.items()]})

    async def describe(self, request: web.Request) -> web.Response:
        """One model."""
        name = self._known(request)
        return web.json_response(_entry(name, self.models[name]))

    async def unload(self, request: web.Request) -> web.Response:
        """End a model's workers."""
        name = self._known(request)
        await self.server.unload(self.models.pop(name).name)
        return web.json_response({"status": f"Model {name} unloaded."})

    async def invoke(self, request: web.Request) -> web.Response:
        """Answer a request with the named model."""
        return await self.answer(request, self.models[self._known(request)])

    def _known(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if name not in self.models:
            raise RequestError(404, "not_found", f"The model {name} is not loaded.")
        return name


async def _load_request(request: web.Request) -> tuple[str, Path]:
    try:
        content = json.loads(await request.content.read(BODY_LIMIT))
        name, url = content["model_name"], content["url"]
    except (ValueError, KeyError, TypeError):
        name = url = None
    if not isinstance(name, str) or not isinstance(url, str) or not name or not url:
        raise RequestError(400, "bad_request", 'Loading a model takes {"model_name": "…", "url": "directory"}.')
    return name, Path(url)


def _entry(name: str, model: Model) -> dict[str, str]:
    return {"modelName": name, "modelUrl": str(model.folder)}
