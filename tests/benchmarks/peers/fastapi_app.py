"""FastAPI, behind uvicorn: a plain function, so that it runs in the thread pool."""

from typing import Annotated, Any

from fastapi import Body, FastAPI
from naive import Classifier

app = FastAPI()
_classify = Classifier()


@app.get("/ping")
def ping() -> dict[str, Any]:
    return {}


@app.post("/invocations")
def invocations(body: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    return _classify(body)
