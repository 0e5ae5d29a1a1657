"""What an earlier job's backbone made of the pictures, as the image's channel `features`: trials start from it."""

from desk import DeskError
from workflow.account import holds
from workflow.settings import Settings


def kept(settings: Settings) -> dict[str, str]:
    """The channel of the features; empty where the setting names none.

    Raises:
        DeskError: nothing is kept where the setting says.
    """
    named = settings.features
    if not named:
        return {}
    place = named if named.startswith("s3://") else settings.below("checkpoints", named, "features")
    if not holds(settings, place):
        raise DeskError(
            f"features={named}: nothing is kept at {place}; name a job that had spot=true and froze its backbone, or "
            "the folder `features` of its checkpoints in S3"
        )
    return {"features": place}
