"""What a memory file system holds of a run's state: two slots for each owner, one always whole.

Invariant: a slot is read only if it was written to its end; whoever writes one, killed at any
byte, leaves the other as it was. This guards against processes that die and bits that flip, not
against a host that loses its memory (the keepers' ring does) nor against someone who may write to
the folder.

A slot: MAGIC, turn, length and checksum of the header · the header, JSON · the pieces, end to end.
It is written from back to front, MAGIC last.
"""

import contextlib
import errno
import fcntl
import json
import mmap
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from castor.fleet.pieces import Held, Piece, dtype_of, piece_from_wire, piece_to_wire

MAGIC = b"castor 1"
PREFIX = struct.Struct("<8sQQI")
ALIGN = 64
# Copied, then summed while it is in the cache: 4.9 GB/s; 4.7 by 64 KiB or 1 MiB. CRC-32 alone makes
# 6.6 GB/s, Adler-32 3.9.
CHUNK = 2**18
SLOT = re.compile(r"(\d+)\.[01]")

Source = np.ndarray | Callable[[], np.ndarray]  # an array, or what makes it when its turn comes


class Damaged(ValueError):
    """A bit has flipped since the piece was written."""


class Slot(NamedTuple):
    """A step of one owner, as it lies in a file."""

    path: Path
    turn: int  # counts what was written for the owner
    step: int
    start: int  # the byte of the file at which the first piece begins
    stop: int  # and at which the last one ends
    places: dict[Piece, int]  # the byte at which each begins, in the order in which they lie
    sums: dict[Piece, int]  # CRC-32 of each


class Shelf:
    """The state that `folder`, on a memory file system, holds of the run of this name.

    Several processes and threads may have a shelf on the same folder.

    Raises:
        ValueError: the folder holds another run.
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, run
        self._memory: dict[Path, tuple[int, mmap.mmap]] = {}  # by inode: mapped once, used again
        self._seen: dict[Path, tuple[bytes, Slot]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _named(folder / "run", run)
        if kept != run:
            raise ValueError(f"{folder} holds the run {kept!r}; {run!r} needs a folder of its own")

    def put(self, owner: int, step: int, pieces: Mapping[Piece, Source]) -> None:
        """Write a step over the older slot of its owner, each array copied once.

        Memory is taken when the sizes change and then kept. A source that is a function is called
        when its bytes are wanted; if it fails, the newer slot still holds. So that some step is
        held by all ranks, none begins to put before all have put the step before.

        Raises:
            ValueError: an array is not what its piece says, or another process writes for `owner`.
            OSError: the memory file system is full; both slots are as they were.
        """

        def fill(piece: Piece, place: np.ndarray) -> int:
            source = pieces[piece]
            return _copied(piece, source() if callable(source) else source, place)

        self._write(owner, step, list(pieces), fill)

    def receive(
        self, owner: int, step: int, sums: Mapping[Piece, int], fill: Callable[[memoryview], None]
    ) -> None:
        """As `put`, for bytes that come in order: `fill` is called until all places are full.

        Raises:
            ValueError: a piece has another checksum than `sums` says, so that nothing is kept; or
                another process writes for `owner`.
            OSError: the memory file system is full; both slots are as they were.
        """

        def summed(piece: Piece, place: np.ndarray) -> int:
            found = 0
            for chunk in _chunks(place):
                fill(chunk.data)
                found = zlib.crc32(chunk, found)
            if found != sums[piece]:
                raise ValueError(f"{piece} at step {step} of rank {owner} arrived damaged")
            return found

        self._write(owner, step, list(sums), summed)

    def held(self) -> Held:
        """The pieces of every whole slot, by owner and step. Their checksums are not looked at."""
        names = (SLOT.fullmatch(path.name) for path in self.folder.iterdir())
        owners = sorted({int(name[1]) for name in names if name})
        found = {owner: self.slots(owner) for owner in owners}
        return {
            owner: {slot.step: list(slot.sums) for slot in reversed(slots)}
            for owner, slots in found.items()
            if slots
        }

    def slots(self, owner: int) -> list[Slot]:
        """The whole slots of an owner, the one that was written last before the other."""
        found = [slot for path in self._paths(owner) if (slot := self._read(owner, path))]
        return sorted(found, key=lambda slot: -slot.turn)

    def slot(self, owner: int, step: int) -> Slot:
        """The slot that holds a step of an owner.

        Raises:
            ValueError: none does.
        """
        slots = self.slots(owner)
        for slot in slots:
            if slot.step == step:
                return slot
        steps = [slot.step for slot in slots]
        raise ValueError(f"{self.folder} holds steps {steps} of rank {owner}, not {step}")

    def take(self, owner: int, step: int, piece: Piece) -> np.ndarray:
        """The array of one piece, a copy whose checksum is right.

        Raises:
            Damaged: a bit has flipped; the step is no longer held.
            ValueError: it is not held, or was overwritten meanwhile.
        """
        slot = self._slot_of(owner, step, piece)
        array = np.empty(piece.extent, dtype_of(piece.dtype))
        if not _read_into(slot, piece, array.reshape(-1).view(np.uint8)):
            self._refuse(slot, owner, piece)
        return array

    def verify(self, owner: int, step: int, piece: Piece | None = None) -> Slot:
        """The slot of a step, after its checksums (or that of one piece) were found to be right.

        Raises:
            Damaged, ValueError: as `take`.
        """
        slot = self.slot(owner, step) if piece is None else self._slot_of(owner, step, piece)
        for one in slot.sums if piece is None else (piece,):
            if not _read_into(slot, one, None):
                self._refuse(slot, owner, one)
        return slot

    def forget(self, after: int) -> None:
        """Hold no step beyond `after`: the run goes on from there, and may come by them anew.

        Raises:
            ValueError: another process is writing here.
        """
        for owner in self.held():
            with self._alone(owner):
                for slot in self.slots(owner):
                    if slot.step > after:
                        _erase(slot.path)

    def drop(self, owner: int) -> None:
        """Hold nothing of an owner, and give its memory back.

        Raises:
            ValueError: another process writes for it.
        """
        with self._alone(owner):
            for path in self._paths(owner):
                if path.exists():
                    os.truncate(path, 0)

    def clear(self) -> None:
        """Give the memory back; nothing is held, and the folder is gone."""
        self._memory.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(
        self,
        owner: int,
        step: int,
        pieces: list[Piece],
        fill: Callable[[Piece, np.ndarray], int],
    ) -> None:
        if owner < 0 or step < 0:
            raise ValueError(f"ranks and steps are 0 or more; got rank {owner}, step {step}")
        blank = _header(self.run, owner, step, dict.fromkeys(pieces, 0))
        start = at = -(-(PREFIX.size + len(blank)) // ALIGN) * ALIGN
        total = start + sum(piece.bytes for piece in pieces)
        with self._alone(owner):
            kept = self.slots(owner)
            free = set(self._paths(owner)) - {slot.path for slot in kept}
            path = min(free) if free else kept[-1].path
            memory = self._room(path, total, f"step {step} of rank {owner}")
            memory[: PREFIX.size] = bytes(PREFIX.size)
            whole, sums = np.frombuffer(memory, np.uint8), {}
            for piece in pieces:
                sums[piece] = fill(piece, whole[at : at + piece.bytes])
                at += piece.bytes
            header = _header(self.run, owner, step, sums)
            memory[PREFIX.size : PREFIX.size + len(header)] = header
            turn = kept[0].turn + 1 if kept else 1
            prefix = PREFIX.pack(MAGIC, turn, len(header), zlib.crc32(header))
            memory[len(MAGIC) : PREFIX.size] = prefix[len(MAGIC) :]
            memory[: len(MAGIC)] = MAGIC

    def _paths(self, owner: int) -> tuple[Path, Path]:
        return self.folder / f"{owner}.0", self.folder / f"{owner}.1"

    @contextlib.contextmanager
    def _alone(self, owner: int) -> Generator[None]:
        """Nobody else writes for the owner; who reads is not held up, and looks at checksums."""
        with self._paths(owner)[0].open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"the slots of rank {owner} in {self.folder} are being written by another"
                ) from None
            yield

    def _room(self, path: Path, total: int, what: str) -> mmap.mmap:
        """The file as memory, of the size that is wanted."""
        with path.open("ab+") as file:
            status = os.fstat(file.fileno())
            if status.st_size < total:
                system = os.statvfs(self.folder)
                room = system.f_bavail * system.f_frsize + status.st_size
                try:
                    if total > room:
                        raise OSError(errno.ENOSPC, "")
                    os.posix_fallocate(file.fileno(), 0, total)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    os.truncate(file.fileno(), status.st_size)
                    raise OSError(
                        errno.ENOSPC,
                        f"{self.folder} has no room for {what}: it needs {total:,} bytes, and "
                        f"{room:,} are free",
                    ) from None
            elif status.st_size > total:
                os.truncate(file.fileno(), total)
            inode, memory = self._memory.get(path, (0, None))
            if memory is None or inode != status.st_ino or len(memory) != total:
                memory = mmap.mmap(file.fileno(), total)
                self._memory[path] = status.st_ino, memory
            return memory

    def _read(self, owner: int, path: Path) -> Slot | None:
        """The slot in a file, if it is whole."""
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            prefix, size = os.pread(handle, PREFIX.size, 0), os.fstat(handle).st_size
            if len(prefix) < PREFIX.size or not prefix.startswith(MAGIC):
                return None
            known, slot = self._seen.get(path, (b"", None))
            if known != prefix or slot is None:
                _, turn, length, check = PREFIX.unpack(prefix)
                header = os.pread(handle, min(length, size), PREFIX.size)
                if len(header) != length or zlib.crc32(header) != check:
                    return None
                slot = _parsed(path, turn, header, self.run, owner)
        finally:
            os.close(handle)
        if slot is None or size < slot.stop:
            return None
        self._seen[path] = prefix, slot
        return slot

    def _slot_of(self, owner: int, step: int, piece: Piece) -> Slot:
        slot = self.slot(owner, step)
        if piece not in slot.sums:
            raise ValueError(f"{piece} is no piece of rank {owner} at step {step}")
        return slot

    def _refuse(self, slot: Slot, owner: int, piece: Piece) -> NoReturn:
        with self._alone(owner):
            now = self._read(owner, slot.path)
            if now == slot and not _read_into(slot, piece, None):
                _erase(slot.path)
                raise Damaged(
                    f"{piece} at step {slot.step} of rank {owner} does not match its checksum: "
                    f"{self.folder} holds that step no longer"
                )
        raise ValueError(f"step {slot.step} of rank {owner} was overwritten while it was read")


def _named(path: Path, run: str) -> str:
    """The name in a file, which is `run` if there was no file yet."""
    aside = path.with_name(f".run.{os.getpid()}")
    aside.write_text(run)
    try:
        os.link(aside, path)
    except FileExistsError:
        return path.read_text()
    finally:
        aside.unlink()
    return run


def _header(run: str, owner: int, step: int, sums: Mapping[Piece, int]) -> bytes:
    """Its length does not depend on the checksums."""
    table = [[*piece_to_wire(piece), f"{check:08x}"] for piece, check in sums.items()]
    return json.dumps({"run": run, "owner": owner, "step": step, "table": table}).encode()


def _parsed(path: Path, turn: int, header: bytes, run: str, owner: int) -> Slot | None:
    fields = json.loads(header)
    if (fields["run"], fields["owner"]) != (run, owner):
        return None
    start = -(-(PREFIX.size + len(header)) // ALIGN) * ALIGN
    sums = {piece_from_wire(wire): int(check, 16) for *wire, check in fields["table"]}
    places, stop = {}, start
    for piece in sums:
        places[piece], stop = stop, stop + piece.bytes
    return Slot(path, turn, fields["step"], start, stop, places, sums)


def _chunks(place: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, len(place), CHUNK):
        yield place[at : at + CHUNK]


def _copied(piece: Piece, array: np.ndarray, place: np.ndarray) -> int:
    """The checksum of an array, once its bytes are at `place`."""
    if array.shape != piece.extent or str(array.dtype) != piece.dtype:
        raise ValueError(
            f"{piece} is {piece.dtype}{list(piece.extent)}; "
            f"it was given {array.dtype}{list(array.shape)}"
        )
    found = 0
    if array.flags.c_contiguous:
        source = array.reshape(-1).view(np.uint8)
        for chunk, origin in zip(_chunks(place), _chunks(source), strict=True):
            np.copyto(chunk, origin)
            found = zlib.crc32(chunk, found)
        return found
    np.copyto(place.view(array.dtype).reshape(array.shape), array)
    for chunk in _chunks(place):
        found = zlib.crc32(chunk, found)
    return found


def _read_into(slot: Slot, piece: Piece, place: np.ndarray | None) -> bool:
    """Whether a piece has its checksum; its bytes are left at `place`, or nowhere."""
    found, at = 0, slot.places[piece]
    buffer = np.empty(min(CHUNK, piece.bytes), np.uint8) if place is None else place
    with slot.path.open("rb", buffering=0) as file:
        file.seek(at)
        for begin in range(0, piece.bytes, CHUNK):
            end = min(begin + CHUNK, piece.bytes)
            part = buffer[: end - begin] if place is None else buffer[begin:end]
            if file.readinto(part.data) != len(part):
                return False
            found = zlib.crc32(part, found)
    return found == slot.sums[piece]


def _erase(path: Path) -> None:
    with path.open("rb+") as file:
        file.write(bytes(PREFIX.size))
