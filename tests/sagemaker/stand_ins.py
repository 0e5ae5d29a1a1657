"""Small programs in the place of `train` and `serve`, for what is about SageMaker's side of the contract."""

import sys
from pathlib import Path

TRAIN = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
config = base / "input" / "config"
chosen = json.loads((config / "hyperparameters.json").read_text())
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
checkpoint = base / "checkpoints" / "epoch"
host = json.loads((config / "resourceconfig.json").read_text())["current_host"]
fails = "fail" in chosen and chosen.get("fail_on", host) == host
if "fail_on" in chosen and fails:
    told.append("at once")
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
print(f"begins after epoch {done}", flush=True)
loss = (float(chosen.get("learning_rate", "0.1")) - 0.03) ** 2
for epoch in range(done + 1, int(chosen.get("epochs", "2")) + 1):
    if told:
        break
    print(f"epoch={epoch}; val_loss={loss + 1 / epoch}; junk=none;", flush=True)
    checkpoint.write_text(str(epoch))
    (base / "checkpoints" / f"old-{epoch}").touch()
    (base / "checkpoints" / f"old-{epoch - 1}").unlink(missing_ok=True)
    time.sleep(float(chosen.get("pause", "0")))
    if told and chosen.get("deaf"):
        told.clear()
if fails:
    (base / "output" / "failure").write_text(chosen["fail"])
    sys.exit(3)
files = {path.name: path.read_text() for path in config.iterdir()}
data = base / "input" / "data"
found = sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())
seen = {"environment": dict(os.environ), "files": files, "told": told, "data": found}
(base / "model" / "seen.json").write_text(json.dumps(seen))
if chosen.get("rules"):
    (base / "output" / "data" / "rules.json").write_text(chosen["rules"])
"""

# Answers with its model's name; a model named "broken" never becomes healthy; "refuses" answers 400,
# as all do to "text", "fails" 500, "slow" after two seconds, "labels" as the image does. Asked with "hang" it
# answers no ping any more.
SERVE = """
import http.server, json, os, pathlib, signal, sys, threading, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
model = base / "model"
name = (model / "name").read_text() if (model / "name").exists() else ""
models = {}
hanging = threading.Event()
if os.environ.get("STAND_IN") == "late":
    time.sleep(60)
if name == "broken":
    print("the model is broken", flush=True)
    sys.exit(1)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, content, **headers):
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if hanging.is_set():
            time.sleep(60)
        self.answer(200, {})

    def do_DELETE(self):
        models.pop(self.path.split("/")[2], None)
        self.answer(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/models":
            asked = json.loads(body)
            if len(models) == 1:
                return self.answer(507, {"code": 507})
            models[asked["model_name"]] = (pathlib.Path(asked["url"]) / "name").read_text()
            return self.answer(200, {})
        if self.path == "/invocations" and (name == "refuses" or body == b"text"):
            return self.answer(400, {"message": "no picture"})
        if self.path == "/invocations" and name == "fails":
            return self.answer(500, {"message": "broken inside"})
        if name == "slow":
            time.sleep(2)
        if body == b"end":
            os._exit(1)
        if body == b"hang":
            hanging.set()
        who = name if self.path == "/invocations" else models[self.path.split("/")[2]]
        if who == "labels":
            return self.answer(200, {"topk_labels": ["dog", "cat"], "topk_probs": [0.75, 0.25]})
        custom = self.headers.get("X-Amzn-SageMaker-Custom-Attributes", "none")
        batch, secret = os.environ.get("SAGEMAKER_BATCH"), self.headers.get("X-Secret")
        kind = self.headers["Content-Type"]
        said = {"model": who, "body": body.decode(), "type": kind, "batch": batch, "secret": secret}
        self.answer(200, said, X_Amzn_SageMaker_Custom_Attributes=custom)

    def log_message(self, form, *words):
        print("log:", form % words, flush=True)

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""


def venv(folder: Path) -> Path:
    """A folder that looks like .venv, with both programs."""
    (folder / "bin").mkdir(parents=True)
    for name, source in {"train": TRAIN, "serve": SERVE}.items():
        file = folder / "bin" / name
        file.write_text(f"#!{sys.executable}\n{source}")
        file.chmod(0o755)
    return folder
