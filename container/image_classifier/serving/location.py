"""Where a user's own script would be. Imports nothing heavy: the front door asks too."""

from pathlib import Path

from image_classifier.contract import Settings


def find(model_dir: Path, settings: Settings) -> Path | None:
    """The user's script in the artifact's `code/`, if there is one."""
    name = settings.program if settings.program.endswith(".py") else f"{settings.program}.py"
    path = model_dir / "code" / Path(name).name
    return path if path.is_file() else None
