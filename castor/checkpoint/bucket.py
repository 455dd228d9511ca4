"""A run's folder, copied to a bucket, and taken up from there on another machine.

Invariant: a checkpoint whose `config.json` is in the bucket is there whole: it is copied last and
removed first.
"""

from collections.abc import Callable
from pathlib import Path

from castor.checkpoint import HEAD, MERGED, checkpoints, newest, place, step_of
from castor.core.files import folder_aside, store

PROBE = ".castor"
LEFT = ("log_*", "ledger*", ".*")  # of this machine
Failure = Exception  # every kind of store has errors of its own


class Bucket:
    """The copy of a run at an address that fsspec knows, such as s3://bucket/run.

    Raises:
        ValueError: no package is there that opens it, or it cannot be written to and read.
    """

    def __init__(self, address: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self._address, self._tell = address.rstrip("/"), tell
        self._files, self._root = store(self._address)
        self._copied: dict[Path, tuple[int, int]] = {}  # size and time of loose files
        try:
            self._files.makedirs(self._root, exist_ok=True)
            probe = f"{self._root}/{PROBE}"
            self._files.pipe_file(probe, PROBE.encode())
            read = self._files.cat_file(probe)
            self._files.rm_file(probe)
        except Failure as error:
            raise ValueError(
                f"{address} cannot be written to and read: {_words(error)}; name a bucket that you "
                "have the right to, or leave --copy out"
            ) from None
        if read != PROBE.encode():
            raise ValueError(f"{address} gives back something else than was written to it")

    def below(self, name: str) -> "Bucket":
        """The copy of a run within this one."""
        return Bucket(f"{self._address}/{name}", self._tell)

    def sync(self, run: Path) -> bool:
        """Make the bucket hold what the run's folder does. Whether it does; why not, is told: it is
        tried again the next time."""
        try:
            self._sync(run)
        except Failure as error:
            self._tell(f"{run} could not be copied to {self._address}: {_words(error)}")
            return False
        return True

    def finish(self, run: Path) -> None:
        """The same, at the end of a run.

        Raises:
            OSError: it cannot be copied.
        """
        try:
            self._sync(run)
        except Failure as error:
            raise OSError(
                f"{run} is whole, but its end could not be copied to {self._address}: "
                f"{_words(error)}; start it again to try again"
            ) from None

    def fetch(self, run: Path) -> None:
        """Bring what a run needs to go on, where the bucket is further than its folder is.

        Raises:
            OSError: it cannot be read.
        """
        try:
            there, here = self._whole(), newest(run)
            if not there or (here is not None and step_of(here) >= max(there)):
                return
            step = max(there)
            self._tell(f"taking {run} up from step {step} in {self._address}")
            for path in self._files.ls(self._root, detail=False):
                name = path.rpartition("/")[2]
                if self._files.isfile(path) and not (run / name).exists():
                    self._files.get_file(path, str(run / name))
            with folder_aside(place(run, step)) as aside:
                source = f"{self._root}/{place(run, step).name}"
                for path in self._files.find(source):
                    target = aside / path.removeprefix(source).lstrip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(path, str(target))
        except Failure as error:
            raise OSError(f"{self._address} cannot be read: {_words(error)}") from None

    def _sync(self, run: Path) -> None:
        for path in run.iterdir():
            if path.is_file() and not any(path.match(pattern) for pattern in LEFT):
                told = path.stat()
                kind = told.st_size, told.st_mtime_ns
                if self._copied.get(path) != kind:
                    self._put(run, path)
                    self._copied[path] = kind
        here = [*checkpoints(run), *(p for p in [run / MERGED] if (p / HEAD).exists())]
        there = {path.split("/")[-2] for path in self._heads()}
        for folder in here:
            if folder.name not in there:
                files = [p for p in folder.rglob("*") if p.is_file() and p != folder / HEAD]
                for path in [*files, folder / HEAD]:
                    self._put(run, path)
        for name in there - {folder.name for folder in here}:
            self._files.rm_file(f"{self._root}/{name}/{HEAD}")
            self._files.rm(f"{self._root}/{name}", recursive=True)

    def _put(self, run: Path, path: Path) -> None:
        target = f"{self._root}/{path.relative_to(run).as_posix()}"
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), target)

    def _whole(self) -> list[int]:
        """The steps whose checkpoints are there."""
        names = [path.split("/")[-2] for path in self._heads()]
        return [int(name[5:]) for name in names if name.startswith("step_")]

    def _heads(self) -> list[str]:
        self._files.invalidate_cache()
        return self._files.glob(f"{self._root}/*/{HEAD}")


def _words(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
