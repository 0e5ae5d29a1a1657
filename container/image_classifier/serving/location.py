"""Where a user's own script would be. Imports nothing heavy: the front door asks too."""

from pathlib import Path

from image_classifier.contract import Settings


def find(model_dir: Path, settings: Settings) -> Path | None:
    """The user's script, if there is one: in the artifact's `code/`, or at its root, as older toolkits had it."""
    name = Path(settings.program if settings.program.endswith(".py") else f"{settings.program}.py").name
    return next((path for path in (model_dir / "code" / name, model_dir / name) if path.is_file()), None)
