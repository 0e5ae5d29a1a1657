"""What the user may set, read once from the environment and checked before anything starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from desk import DeskError
from ways import DEFAULT_IMAGE

# name -> the form of its value, and an example of it
FORMS = {
    "IMAGE": (r"(?=.{2,256}$)[a-z0-9]+([._/-]+[a-z0-9]+)*", "team/image-classifier"),
    "TAG": (r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "v1.2.3"),
    "REGION": (r"[a-z]{2,4}(-[a-z]+)+-\d", "eu-west-1"),
    "ACCOUNT": (r"\d{12}", "123456789012"),
    # An index of several platforms is what SageMaker refuses.
    "PLATFORM": (r"[a-z]+/[a-z0-9]+(/v\d+)?", "linux/amd64, and one at a time"),
}


@dataclass(frozen=True)
class Settings:
    """The settings as given; what is empty is found out later, where it is needed."""

    image: str
    tag: str
    region: str
    account: str
    platform: str
    base_image: str
    accelerator: str
    engine: str
    kms_key: str
    ca_bundle: Path | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check the variables; DeskError names the one that cannot be used."""
        bundle = environ.get("CA_BUNDLE")
        if bundle and not Path(bundle).is_file():
            raise DeskError(f"CA_BUNDLE={bundle} is not a file; name a file of CA certificates in PEM form")
        return cls(
            image=checked("IMAGE", environ.get("IMAGE") or DEFAULT_IMAGE),
            tag=checked("TAG", environ.get("TAG", "")),
            region=checked("REGION", environ.get("REGION", "")),
            account=checked("ACCOUNT", environ.get("ACCOUNT", "")),
            platform=checked("PLATFORM", environ.get("PLATFORM") or "linux/amd64"),
            base_image=environ.get("BASE_IMAGE", ""),
            # said in any case: buildah 1.28 looks for the stage of a lane only by an argument that it is given
            accelerator=environ.get("ACCELERATOR") or "cuda",
            engine=environ.get("ENGINE", ""),
            kms_key=environ.get("KMS_KEY", ""),
            ca_bundle=Path(bundle).resolve() if bundle else None,
        )


def checked(name: str, value: str) -> str:
    """The value, when it is empty or has its variable's form."""
    form, example = FORMS[name]
    if value and not re.fullmatch(form, value):
        raise DeskError(f"{name}={value} cannot be used; it must be of the form {example}")
    return value
