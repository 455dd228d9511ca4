"""What every function of the package is checked with in tests: beartype, with int accepted where
float is annotated (PEP 484), and the shapes of jaxtyping where a function names some.

jaxtyping counts out dimensions at every call of every function, named or not, and writes a new
check each time that an inner function is made: that took two fifths of the tests' time.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

numeric = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
with_shapes = jaxtyping.jaxtyped


def checked(fn: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """In place of `jaxtyping.jaxtyped`: only what has arrays of named shapes needs all of it."""
    if fn is None:
        return partial(checked, typechecker=typechecker)
    if inspect.isclass(fn):
        plain = dataclasses.is_dataclass(fn) and not getattr(fn, "__no_type_check__", False)
        if plain and "__init__" in vars(fn) and not _names_shapes(fn.__init__):
            fn.__init__ = typechecker(fn.__init__)
            return fn
    elif inspect.isfunction(fn) and not _names_shapes(fn):
        return fn if "<locals>" in fn.__qualname__ else typechecker(fn)
    return with_shapes(fn, typechecker=typechecker)


def _names_shapes(fn: Callable[..., Any]) -> bool:
    return any(map(_is_shaped, inspect.get_annotations(fn).values()))


def _is_shaped(hint: Any) -> bool:
    if isinstance(hint, str):
        return True
    return str(getattr(hint, "__module__", "")).startswith("jaxtyping") or any(
        map(_is_shaped, get_args(hint))
    )
