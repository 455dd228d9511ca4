"""Values of a JSON object as what they must be: numbers in their ranges, names of a list.

Absent and null mean the same. Messages name the field by its place in the request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast


def number(
    fields: Mapping[str, Any], name: str, *, at: str, low: float, high: float
) -> float | None:
    """A number from `low` to `high`, perhaps as a string.

    Raises:
        ValueError: it is none, or outside.
    """
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _invalid(value, name, at, "a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise _invalid(value, name, at, "a number") from None
    if not low <= found <= high:
        raise ValueError(f"{_place(at, name)}: {value} is outside the range {low:g} to {high:g}")
    return found


def whole(fields: Mapping[str, Any], name: str, *, at: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`: 3, 3.0 or "3".

    Raises:
        ValueError: it is none, or outside.
    """
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(value, name, at, "a whole number")
    if not low <= value <= high:
        raise ValueError(f"{_place(at, name)}: {value} is outside the range {low} to {high}")
    return value


def flag(fields: Mapping[str, Any], name: str, *, at: str) -> bool:
    """A truth value, false where there is none.

    Raises:
        ValueError: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _invalid(value, name, at, "true or false")
    return value


def text(fields: Mapping[str, Any], name: str, *, at: str) -> str:
    """A string, empty where there is none.

    Raises:
        ValueError: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(value, name, at, "a string")
    return value


def texts(fields: Mapping[str, Any], name: str, *, at: str) -> tuple[str, ...]:
    """Strings; one string is a list of one.

    Raises:
        ValueError: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return ()
    held = cast("list[object]", value) if isinstance(value, list) else [value]
    strings = tuple(item for item in held if isinstance(item, str))
    if len(strings) != len(held):
        raise _invalid(value, name, at, "a list of strings")
    return strings


def choice(value: Any, names: Sequence[str], *, at: str, prefix: str = "", absent: str = "") -> str:
    """One of `names`: in any case, with or without `prefix`, or as its number in the list.

    Raises:
        ValueError: it is none of them.
    """
    if value is None:
        return absent
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    spelled = str(value).upper().removeprefix(prefix)
    if isinstance(value, str) and spelled in names:
        return spelled
    raise ValueError(f"Invalid value at '{at}': {value!r} is not one of {', '.join(names)}")


def mapping(fields: Mapping[str, Any], name: str, *, at: str) -> Mapping[str, Any]:
    """An object, empty where there is none.

    Raises:
        ValueError: it is something else.
    """
    return as_mapping(fields.get(name), at=_place(at, name))


def as_mapping(value: Any, *, at: str) -> Mapping[str, Any]:
    """The same for a value that stands alone."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"Invalid value at '{at}': an object is needed, not {_shown(value)}")
    return cast("Mapping[str, Any]", value)


def listed(fields: Mapping[str, Any], name: str) -> list[Any]:
    """A list; a single thing is a list of one, and nothing an empty one."""
    value = fields.get(name)
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _invalid(value: Any, name: str, at: str, wanted: str) -> ValueError:
    return ValueError(
        f"Invalid value at '{_place(at, name)}': {wanted} is needed, not {_shown(value)}"
    )


def _place(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
