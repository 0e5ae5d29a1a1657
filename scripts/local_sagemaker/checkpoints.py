"""A job's checkpoints, mirrored to S3 while it runs and fetched before it starts."""

from pathlib import Path

from local_sagemaker.aws import Objects, Uri


class Mirror:
    """Keeps S3 as the folder is: what changed goes up, what was deleted goes there too."""

    def __init__(self, objects: Objects, folder: Path, place: Uri) -> None:
        self._objects, self._folder, self._place = objects, folder, place
        self._seen: dict[Path, tuple[int, int]] = {}

    def restore(self) -> None:
        """Fetch what an earlier job, or this one before its interruption, has left."""
        self._objects.download(Uri(self._place.bucket, self._place.key.rstrip("/") + "/"), self._folder)
        self._seen = self._look()

    def sync(self) -> None:
        """Bring S3 up to date."""
        now = self._look()
        for path, version in now.items():
            if self._seen.get(path) != version:
                self._upload(path)
        for path in self._seen.keys() - now.keys():
            self._objects.remove(self._place.below(str(path)))
        self._seen = now

    def _upload(self, path: Path) -> None:
        try:
            self._objects.write(self._place.below(str(path)), (self._folder / path).read_bytes())
        except FileNotFoundError:  # renamed or deleted meanwhile: the next look sees it
            return

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for path in self._folder.rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                found[path.relative_to(self._folder)] = (status.st_mtime_ns, status.st_size)
        return found
