"""FastAPI, behind uvicorn: the work is done in its thread pool."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from naive import Classifier

app = FastAPI()
_classify = Classifier()


@app.get("/ping")
def ping() -> dict[str, Any]:
    return {}


@app.post("/invocations")
async def invocations(request: Request) -> dict[str, Any]:
    return await run_in_threadpool(_classify, await request.body())
