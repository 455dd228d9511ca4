"""A run's folder, copied to a bucket, and taken up from there on another machine.

Invariant: a checkpoint whose `config.json` is in the bucket is there whole: it is copied last and
removed first. Nothing is touched there that a run would not have written.
"""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from castor.checkpoint import HEAD, checkpoints, newest, step_of
from castor.core.files import folder_aside, store, write_atomic

PROBE = ".castor"
STEP = re.compile(r"step_\d+")
LEFT = ("log_*", "ledger*", ".*")  # of this machine
ELSEWHERE = re.compile(r"step_|damaged_|codec$|\.")  # folders that are copied otherwise, or not
Failure = Exception  # s3fs, gcsfs and others raise what the libraries beneath them do


class Bucket:
    """The copy of a run at an address that fsspec knows, such as s3://bucket/run.

    Raises:
        ValueError: it names nothing, or no package is there that opens it.
    """

    def __init__(self, address: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self.address, self.tell = address.rstrip("/"), tell
        if not self.address:
            raise ValueError(f"{address!r} names no bucket; one is s3://bucket/run, for example")
        self._files, self._root = store(self.address)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bucket")
        self._copying: Future[None] | None = None
        self._within: dict[str, Bucket] = {}
        self._copied: dict[Path, tuple[int, int]] = {}  # size and time of loose files

    def below(self, name: str) -> "Bucket":
        """The copy of a run within this one."""
        if name not in self._within:
            self._within[name] = Bucket(f"{self.address}/{name}", self.tell)
        return self._within[name]

    def refuse(self) -> None:
        """Say that the bucket cannot be used, before anything is computed.

        Raises:
            ValueError: it cannot be written to and read.
        """
        probe = f"{self._root}/{PROBE}"
        try:
            self._make_way(self._root)
            self._files.pipe_file(probe, PROBE.encode())
            read = self._files.cat_file(probe)
            self._files.rm_file(probe)
            self._names(self._root)
        except Failure as error:
            raise ValueError(
                f"{self.address} cannot be written to and read: {_words(error)}; name a bucket "
                "that you have the right to, or leave --copy out"
            ) from None
        if read != PROBE.encode():
            raise ValueError(f"{self.address} gives back something else than was written to it")

    def read(self, name: str) -> bytes | None:
        """What a file of the copy holds; None if there is none.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except Failure as error:
            raise OSError(f"{self.address} cannot be read: {_words(error)}") from None

    def fetch(self, run: Path) -> bool:
        """Bring what a run needs to go on, where the bucket is further than its folder is; whether
        it was.

        Raises:
            OSError: it cannot be read.
        """
        try:
            there, here = self._whole(), newest(run)
            last = max((step_of(Path(name)) for name in there), default=-1)
            if last < 0 or (here is not None and step_of(here) >= last):
                return False
            self.tell(f"taking {run} up from step {last} in {self.address}")
            for name in self._names(self._root):
                if self._files.isfile(f"{self._root}/{name}"):
                    write_atomic(run / name, self._files.cat_file(f"{self._root}/{name}"))
            for name in sorted(there):  # the newest one last: until it is there, nothing is
                if not (run / name).exists():
                    with folder_aside(run / name) as aside:
                        self._get(name, aside)
        except Failure as error:
            raise OSError(f"{self.address} cannot be read: {_words(error)}") from None
        return True

    def sync(self, run: Path) -> None:
        """Begin to make the bucket hold what the run's folder does, when what is being copied is
        there. Why it could not be, is told: it is tried again the next time."""
        if self._copying is None or self._copying.running() or self._copying.done():
            self._copying = self._pool.submit(self._try, run)

    def finish(self, run: Path) -> None:
        """Make the bucket hold what the run's folder does, runs within it too.

        Raises:
            OSError: it cannot be copied.
        """
        try:
            self._pool.submit(self._sync, run).result()
        except Failure as error:
            raise OSError(
                f"{run} is whole, but could not be copied to {self.address} in the end: "
                f"{_words(error)}; start it again to try again"
            ) from None
        for name, bucket in self._within.items():
            bucket.finish(run / name)

    def _try(self, run: Path) -> None:
        try:
            self._sync(run)
        except Failure as error:
            self.tell(f"{run} could not be copied to {self.address}: {_words(error)}")

    def _sync(self, run: Path) -> None:
        self._put_loose(run)
        here, there = {path.name: path for path in checkpoints(run)}, self._whole()
        for name, folder in reversed(here.items()):
            if name not in there:
                files = [p for p in folder.rglob("*") if p.is_file() and p != folder / HEAD]
                try:
                    for path in [*files, folder / HEAD]:
                        self._put(run, path)
                except FileNotFoundError:
                    if folder.exists():
                        raise  # else an old one that has been removed meanwhile
        last = max(map(step_of, here.values()), default=0)
        for name in filter(STEP.fullmatch, self._names(self._root)):
            if name not in here and step_of(Path(name)) < last:
                if name in there:
                    self._files.rm_file(f"{self._root}/{name}/{HEAD}")
                self._files.rm(f"{self._root}/{name}", recursive=True)

    def _put_loose(self, run: Path) -> None:
        folders = [p for p in run.iterdir() if p.is_dir() and not ELSEWHERE.match(p.name)]
        for path in [*run.iterdir(), *(p for folder in folders for p in folder.rglob("*"))]:
            if path.is_file() and not any(path.match(pattern) for pattern in LEFT):
                kind = path.stat().st_size, path.stat().st_mtime_ns
                if self._copied.get(path) != kind:
                    self._put(run, path)
                    self._copied[path] = kind

    def _put(self, run: Path, path: Path) -> None:
        target = f"{self._root}/{path.relative_to(run).as_posix()}"
        self._make_way(target.rpartition("/")[0])
        self._files.put_file(str(path), target)

    def _get(self, name: str, folder: Path) -> None:
        source = f"{self._root}/{name}"
        for path in self._files.find(source):
            target = folder / path.removeprefix(source).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))

    def _make_way(self, folder: str) -> None:
        """Make a folder where files need one; a store of objects would make a bucket instead."""
        if "file" in self._files.protocol:
            self._files.makedirs(folder, exist_ok=True)

    def _whole(self) -> set[str]:
        """The names of the checkpoints that are there."""
        self._files.invalidate_cache()
        names = filter(STEP.fullmatch, self._names(self._root))
        return {name for name in names if HEAD in self._names(f"{self._root}/{name}")}

    def _names(self, folder: str) -> list[str]:
        try:
            found = self._files.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]


def _words(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
