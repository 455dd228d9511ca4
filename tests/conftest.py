"""Every test runs with checked shapes, strict dtypes, eight CPU devices and no network."""

import gc
import os
import socket
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest
from checker import checked
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from castor.tokens.vocab import Vocab

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_cpu_enable_concurrency_optimized_scheduler=false"  # exchanges in order
)
if "--xla_backend_optimization_level" not in os.environ["XLA_FLAGS"]:
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"  # compiling costs the most
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"


MOST_STRETCHES = 30_000

jax = import_module("jax")  # only now: it reads the variables above
tree_util = import_module("jax.tree_util")
compilation_cache = import_module("jax.experimental.compilation_cache.compilation_cache")
register = tree_util.register_dataclass


def register_unchecked(cls: type, *fields: object) -> type:
    """JAX rebuilds its trees with shapes, labels or booleans for leaves: do not check those."""
    cls.__no_type_check__ = True
    return register(cls, *fields)


tree_util.register_dataclass = register_unchecked
jaxtyping.jaxtyped = checked
install_import_hook("castor", "checker.numeric")


@pytest.fixture(scope="session")
def vocab() -> "Vocab":
    """A tiny vocabulary with 64 picture codes, the same in every test."""
    from castor.tokens.learn import learn

    words = ("one", "two", "čtyři", "пять", "ש", "六", "seven", "naïve") * 9
    lines = (f"{word} {i} sees a red square, the cat says {word}!" for i, word in enumerate(words))
    return learn(["\n".join(lines), "    indented\tcode()\n\n\n" * 9], size=420, codes=64)


@pytest.fixture(autouse=True, scope="module")
def kept_programs(request: pytest.FixtureRequest) -> None:
    """Programs of one device are kept from test to test and run to run, in .pytest_cache. Those of
    a mesh are not: what JAX reads back exchanges in no order (castor/train/programs.py)."""
    shared_out = "mesh" in request.path.read_text()
    kept = None if shared_out else str(request.config.rootpath / ".pytest_cache" / "programs")
    jax.config.update("jax_compilation_cache_dir", kept)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    compilation_cache.reset_cache()


@pytest.fixture(autouse=True, scope="module")
def room_for_programs() -> Iterator[None]:
    """Forget compiled programs before they are too many: each takes some stretches of memory, of
    which Linux gives a process 65,530, and XLA dies of a segmentation fault when there are none."""
    yield
    stretches = Path("/proc/self/maps")
    if stretches.exists() and stretches.read_bytes().count(b"\n") > MOST_STRETCHES:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection to another machine fails."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
