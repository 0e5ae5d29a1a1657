"""Gives MMS newer jars than the ones it carries: `jars.py ARCHIVE FRONTEND LIBRARIES`.

MMS comes as one jar with copies of its dependencies, of 2015 to 2023. It keeps its own classes; the dependencies are
put beside it, in the versions of docker/jars.txt, and MMS's class path takes every jar in FRONTEND. Netty's socket
library goes into LIBRARIES: Java would unpack it into /tmp, which some hosts mount noexec.
"""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

OWN = ("META-INF/MANIFEST.MF", "com/amazonaws/", "software/amazon/")
# What MMS's classes ask for, directly or not. KQueue is macOS's; MMS asks whether it is there.
JARS = (
    *("commons-cli", "commons-io", "gson", "slf4j-api", "log4j-api", "log4j-core", "log4j-slf4j2-impl"),
    *("netty-buffer", "netty-codec", "netty-codec-base", "netty-codec-compression", "netty-codec-http", "netty-common"),
    *("netty-handler", "netty-resolver", "netty-transport", "netty-transport-native-unix-common"),
    *("netty-transport-classes-epoll", "netty-transport-classes-kqueue", "netty-transport-native-epoll"),
)
JAR = re.compile(rf"({'|'.join(JARS)})-[\d.]+(Final)?(-linux-x86_64)?\.jar")
NATIVE = "META-INF/native/libnetty_transport_native_epoll_x86_64.so"


def keep_own_classes(jar: Path) -> None:
    """Rewrite MMS's jar without its dependencies; the same bytes at each build."""
    with zipfile.ZipFile(jar) as old:
        own = {name: old.read(name) for name in sorted(old.namelist()) if name.startswith(OWN) and name[-1] != "/"}
    with zipfile.ZipFile(jar, "w") as new:
        for name, content in own.items():
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def take_jars(archive: Path, folder: Path) -> None:
    """Copy the jars out of a source archive; ends the build when one is missing."""
    found = set()
    with tarfile.open(archive) as source:
        for member in source:
            name = Path(member.name).name
            if (match := JAR.fullmatch(name)) and (content := source.extractfile(member)):
                (folder / name).write_bytes(content.read())
                found.add(match[1])
    if missing := set(JARS) - found:
        sys.exit(f"jars.py: {archive.name} has no {', '.join(sorted(missing))}")


def take_native_library(folder: Path, libraries: Path) -> None:
    """Put netty's socket library where Java looks first."""
    (jar,) = folder.glob("netty-transport-native-epoll-*.jar")
    with zipfile.ZipFile(jar) as content:
        (libraries / Path(NATIVE).name).write_bytes(content.read(NATIVE))


if __name__ == "__main__":
    sources, frontend, native = (Path(word) for word in sys.argv[1:])
    keep_own_classes(frontend / "model-server.jar")
    take_jars(sources, frontend)
    take_native_library(frontend, native)
