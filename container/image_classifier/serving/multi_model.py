"""Many models in one container: the calls SageMaker makes when SAGEMAKER_MULTI_MODEL=true.

Source: SageMaker Developer Guide, "Custom containers contract for multi-model endpoints".
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from image_classifier.errors import RequestError
from image_classifier.serving.front_door import FrontDoor
from image_classifier.serving.location import find

BODY_LIMIT = 1 << 16  # bytes of a request to load a model


@dataclass
class MultiModelDoor(FrontDoor):
    """A front door that loads, lists, invokes and unloads models by name."""

    models: dict[str, Path] = field(default_factory=dict)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See FrontDoor."""
        router.add_post("/models", self.load)
        router.add_get("/models", self.list_models)
        router.add_get("/models/{name}", self.describe)
        router.add_delete("/models/{name}", self.unload)
        router.add_post("/models/{name}/invoke", self.invoke)

    async def load(self, request: web.Request) -> web.Response:
        """Load the model that the body names: {"model_name": …, "url": directory}."""
        name, folder = await _load_request(request)
        if name in self.models:
            raise RequestError(409, "already_loaded", f"The model {name} is loaded already.")
        if not folder.is_dir():
            raise RequestError(400, "bad_request", f"There is no directory {folder}.")
        await self.server.register(_internal(name), folder)
        self.models[name] = folder
        return web.json_response({"status": f"Model {name} loaded."})

    async def list_models(self, request: web.Request) -> web.Response:
        """All loaded models, in one page."""
        del request
        return web.json_response({"models": [_entry(name, path) for name, path in self.models.items()]})

    async def describe(self, request: web.Request) -> web.Response:
        """One model."""
        name = self._known(request)
        return web.json_response(_entry(name, self.models[name]))

    async def unload(self, request: web.Request) -> web.Response:
        """End a model's workers."""
        name = self._known(request)
        del self.models[name]
        await self.server.unregister(_internal(name))
        return web.json_response({"status": f"Model {name} unloaded."})

    async def invoke(self, request: web.Request) -> web.Response:
        """Answer a request with the named model."""
        name = self._known(request)
        own_formats = find(self.models[name], self.settings) is None
        return await self.answer(request, _internal(name), own_formats)

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


def _entry(name: str, path: Path) -> dict[str, str]:
    return {"modelName": name, "modelUrl": str(path)}


def _internal(name: str) -> str:
    """The model's name inside MMS: a caller's name is a path in S3, which MMS's own paths cannot hold."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
