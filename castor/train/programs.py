"""Programs that were compiled once, read back when a run starts again.

JAX does the same by itself, but not where the devices of a mesh are CPUs: of several processes only
the first one keeps what it compiled, and each has another program there; and XLA forgets in which
order a loop's exchanges and those beside it come, so that devices wait for each other for ever.

Invariant: what is read back was compiled from the same program by the same compiler, for the same
process of as many; and exchanges nothing within a loop. Who names the folder sees to it that it is
of one kind of processor and of one set of flags.
"""

import hashlib
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.stages import Compiled, Lowered

from castor.core.files import write_atomic
from castor.models.layout import mesh_in_use
from castor.train.collectives import loops_exchange

DIGEST = 32  # bytes in front of a program
MOST = 200  # programs that are kept; the oldest go first


def compiled(lowered: Lowered) -> Compiled:
    """The program, compiled or read back. It is kept only if it keeps what it does not use."""
    folder = _folder()
    if folder is None:
        return lowered.compile()
    text = lowered.as_text()
    if not _tells_all(text, lowered):
        return lowered.compile()
    path = folder / _digest(text)
    if (program := _read(path, lowered)) is not None:
        return program
    program = lowered.compile()
    shared_out = program.as_text()
    if shared_out is not None and not loops_exchange(shared_out):
        with suppress(OSError, ValueError, RuntimeError):  # no room, or not to be written down
            _write(path, serialize(program)[0])
    return program


def _read(path: Path, lowered: Lowered) -> Compiled | None:
    """The program in a file; None if there is none, or it is not what was written."""
    try:
        digest, program = (whole := path.read_bytes())[:DIGEST], whole[DIGEST:]
        if hashlib.sha256(program).digest() != digest:
            return None
        path.touch()
        return deserialize_and_load(program, lowered.in_tree, lowered.out_tree)
    except (OSError, ValueError, RuntimeError):  # a compiler may refuse what it wrote
        return None


def _folder() -> Path | None:
    """Where programs are kept, beside those that JAX keeps; None = they are not."""
    beside = jax.config.jax_compilation_cache_dir
    if not beside or mesh_in_use() is None or jax.default_backend() != "cpu":
        return None
    return Path(beside) / "mesh"


def _tells_all(text: str, lowered: Lowered) -> bool:
    """Whether a program's text has every array that it is given, as with `keep_unused`: else it
    does not tell which of them it takes."""
    main = re.search(r"@main\((.*)", text)
    named = len(re.findall(r"%arg\d+:", main[1])) if main else 0
    return named == len(jax.tree.leaves(lowered.in_avals))


def _digest(text: str) -> str:
    seat = f"{jax.process_index()}/{jax.process_count()} {jax.local_device_count()}"
    told = "\n".join((seat, jax.__version__, version("jaxlib"), text))
    return hashlib.sha256(told.encode()).hexdigest()


def _write(path: Path, program: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, hashlib.sha256(program).digest() + program)
    kept = sorted(path.parent.iterdir(), key=lambda other: other.stat().st_mtime)
    for old in kept[:-MOST]:
        old.unlink(missing_ok=True)
