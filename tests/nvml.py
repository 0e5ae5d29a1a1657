"""A management library of NVIDIA's for machines without a GPU: it says what the environment says (native/nvml.c)."""

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "native" / "nvml.c"


def library(folder: Path) -> Path:
    """Compile it into a folder, which LD_LIBRARY_PATH can then name."""
    made = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, SOURCE], check=True)
    made.chmod(0o755)
    return made


def environment(driver: str, capability: str = "7.5", **more: str) -> dict[str, str]:
    """What one GPU behind this driver looks like."""
    return {"NVML_DRIVER": driver, "NVML_CAPABILITY": capability, **more}
