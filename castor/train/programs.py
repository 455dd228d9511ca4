"""Programs that were compiled once, read back when a run starts again.

JAX does the same by itself, but not where the devices of a mesh are CPUs: of several processes only
the first one keeps what it compiled, and each has another program there; and XLA forgets in which
order a loop's exchanges and those beside it come, so that devices wait for each other for ever.

Invariant: what is read back was compiled from the same program by the same compiler, for the same
process of as many; and exchanges nothing within a loop. Who names the folder sees to it that it is
of one kind of processor and of one set of flags.
"""

import ctypes
import hashlib
import os
import pickle
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.stages import Compiled, Lowered

import castor
from castor.core.files import write_atomic
from castor.models.layout import mesh_in_use
from castor.train.collectives import loops_exchange

# Of what cannot be written or read, or is of classes that have moved.
TROUBLE = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, ImportError)
TROUBLE += (pickle.PickleError,)
DIGEST = 32  # bytes in front of a program
MOST = 400  # programs and names that are kept; those that were not used for longest go first


def steady() -> dict[str, bool] | None:
    """What the compiler is told of a program whose results must be the same bits each time: on a
    GPU cuDNN's backward pass of attention, and sums over equal ids, would else add in another order
    at every step. Measured: 13 % of a step's time (docs/speed.md)."""
    on_gpu = jax.default_backend() == "gpu"
    return {"xla_gpu_exclude_nondeterministic_ops": True} if on_gpu else None


def lean(
    function: Any, *, ready: Callable[[], None] = lambda: None, told: str = ""
) -> Callable[..., Any]:
    """A jitted function that gives back what its compiler leaves.

    `ready` is called when a program is, before it runs: among several processes, one that ran it
    long before another could would give up waiting for it. `told` says what the function is, if
    that alone is to find its program again; "" = it is traced first.

    Compiling leaves some 230 MB in the heap's free lists (measured for 9.7M weights), which the
    C library keeps while the function takes its own memory beside them.
    """
    made: dict[Any, Callable[..., Any]] = {}

    def call(*given: Any) -> Any:
        leaves, shape = jax.tree.flatten(given)
        kind = shape, tuple((x.shape, x.dtype, getattr(x, "sharding", None)) for x in leaves)
        if kind not in made:
            name = f"{told} {kind}" if told else ""
            made[kind] = compiled(partial(function.lower, *given), told=name)
            give_back()
            ready()
        return made[kind](*given)

    return call


def give_back() -> None:
    """Return the heap's free pages to the system, where the C library is one that can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def compiled(lower: Callable[[], Lowered], *, told: str = "") -> Compiled:
    """The program, compiled or read back. It is kept only if it keeps what it does not use.

    `told` says all that it comes from besides this package, the libraries and how JAX is set, so
    that of two alike the second need not be traced either; "" = its text must say it. What is kept
    is as much to be trusted as whoever may write to that folder.
    """
    folder = _folder()
    if folder is None:
        return lower().compile()
    short = folder / _digest(*_settings(), SOURCES, told) if told else None
    if short is not None and (program := _read(short)) is not None:
        return program
    lowered = lower()
    text = lowered.as_text()
    if not _tells_all(text, lowered):
        return lowered.compile()
    path = folder / _digest(text, str(lowered.in_tree), str(lowered.out_tree))
    program = _read(path)
    if program is None:
        program = lowered.compile()
        shared_out = program.as_text()
        if shared_out is None or loops_exchange(shared_out):
            return program
        with suppress(*TROUBLE):  # no room, or not to be written down
            _write(path, pickle.dumps(serialize(program)))
    if short is not None:
        with suppress(OSError):
            short.unlink(missing_ok=True)
            short.symlink_to(path.name)
    return program


def _read(path: Path) -> Compiled | None:
    """The program in a file; None if there is none, or it is not what was written."""
    try:
        digest, program = (whole := path.read_bytes())[:DIGEST], whole[DIGEST:]
        if hashlib.sha256(program).digest() != digest:
            return None
        os.utime(path, follow_symlinks=False)
        os.utime(path)
        return deserialize_and_load(*pickle.loads(program))
    except TROUBLE:  # a compiler may refuse what it wrote
        return None


def _folder() -> Path | None:
    """Where programs are kept, beside those that JAX keeps; None = they are not, or JAX does it:
    what it has read back cannot be written down again."""
    beside, taken = jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache
    if not beside or taken or mesh_in_use() is None or jax.default_backend() != "cpu":
        return None
    return Path(beside) / "mesh"


def _tells_all(text: str, lowered: Lowered) -> bool:
    """Whether a program's text has every array that it is given, as with `keep_unused`: else it
    does not tell which of them it takes."""
    main = re.search(r"@main\((.*)", text)
    named = len(re.findall(r"%arg\d+:", main[1])) if main else 0
    return named == len(jax.tree.leaves(lowered.in_avals))


def _digest(*text: str) -> str:
    seat = f"{jax.process_index()}/{jax.process_count()} {jax.local_device_count()}"
    told = "\n".join((seat, jax.__version__, version("jaxlib"), *text))
    return hashlib.sha256(told.encode()).hexdigest()


def _settings() -> tuple[str, ...]:
    values: Any = jax.config.values
    libraries = version("optax"), version("numpy")
    return sys.version, *libraries, str(sorted(values.items())), str(mesh_in_use())


def _sources() -> str:
    """The digest of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(castor.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


SOURCES = _sources()  # as they are imported, and not as they are later


def _write(path: Path, program: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, hashlib.sha256(program).digest() + program)
    kept = sorted(path.parent.iterdir(), key=lambda other: other.lstat().st_mtime)
    for old in kept[:-MOST]:
        old.unlink(missing_ok=True)
