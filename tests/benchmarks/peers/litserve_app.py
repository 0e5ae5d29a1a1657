"""LitServe."""

import os
from typing import Any

import litserve
from fastapi import Request
from naive import Classifier


class Api(litserve.LitAPI):  # type: ignore[misc]
    def decode_request(self, request: Request) -> bytes:  # a form, in spite of the type, which LitServe asks for
        content: bytes = request["body"].file.read()
        return content

    def setup(self, device: str) -> None:
        del device
        self.classify = Classifier()

    def predict(self, body: bytes) -> dict[str, Any]:
        return self.classify(body)

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


if __name__ == "__main__":
    api = Api(api_path="/invocations", enable_async=False)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, healthcheck_path="/ping")
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
