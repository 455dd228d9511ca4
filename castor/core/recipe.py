"""Frozen dataclasses as settings: changed by typed text, written as JSON, named by a digest.

Invariant: `from_json(type(x), to_json(x)) == x`, and equal values have equal digests. What a field
may hold is read from its annotation; a union of dataclasses is chosen by class name.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints


def override[T](settings: T, change: str) -> T:
    """The settings with one field changed: "steps=500", "model.width=256", "optimizer=Muon".

    Members of tuples go by number ("parts.0.share=2"), of dicts by key. A dataclass is named by its
    class and has its defaults, or is given as JSON; a tuple is "1,2,3" or JSON; None is "none".

    Raises:
        ValueError: there is no such field, or the text is no value for it.
    """
    path, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"{change!r} changes nothing; write FIELD=VALUE")
    names = path.strip().split(".")
    return _changed(settings, type(settings), names, text.strip(), place=type(settings).__name__)


def to_json(settings: Any) -> Any:
    """Plain dicts, lists and scalars. A member of a union of dataclasses carries its "kind"."""
    return _encoded(settings, type(settings))


def from_json[T](cls: type[T], data: Any) -> T:
    """The settings that `to_json` wrote; fields that are missing have their defaults.

    Raises:
        ValueError: the data does not fit, e.g. names a field that the class does not have.
    """
    return _decoded(data, cls, place=cls.__name__)


def digest(settings: Any, *, leave_out: Collection[str] = ()) -> str:
    """Twelve hexadecimal digits that name these values and no others, but for fields left out."""
    text = json.dumps(
        [type(settings).__name__, flat(settings, leave_out=leave_out)], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(settings: Any, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Every scalar by its dotted path; a member of a union also appears as its class name.

    Fields of the names in `leave_out`, and what is in them, do not appear.
    """
    found = _walk(settings, type(settings), "")
    return {path: value for path, value in found if not set(leave_out) & set(path.split("."))}


def pretty(settings: Any) -> str:
    """One line per field, nested dataclasses indented below theirs."""
    return f"{type(settings).__name__}\n" + "\n".join(_lines(settings, 1))


def _is_settings(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _is_list(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple | list)


def _is_table(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


@cache
def _annotations(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; anything else is its own only member."""
    joined = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if joined else (annotation,)


def _classes(annotation: Any) -> dict[str, type]:
    return {c.__name__: c for c in _options(annotation) if isinstance(c, type) and is_dataclass(c)}


def _member(annotation: Any, key: int | str) -> Any:
    """The annotation of one member of a tuple or dict."""
    inner = next(o for o in _options(annotation) if get_origin(o) in (tuple, dict))
    arguments = get_args(inner)
    if get_origin(inner) is dict:
        return arguments[1]
    return arguments[0] if arguments[1:] == (...,) else arguments[int(key)]


def _changed(value: Any, annotation: Any, names: list[str], text: str, *, place: str) -> Any:
    if not names:
        return _parsed(text, annotation, place=place)
    name, rest = names[0], names[1:]
    inside = f"{place}.{name}"
    if _is_settings(value):
        known = _annotations(value.__class__)
        if name not in known:
            raise ValueError(f"{type(value).__name__} has no field {name!r}; it has {list(known)}")
        new = _changed(getattr(value, name), known[name], rest, text, place=inside)
        return replace(value, **{name: new})
    if _is_list(value):
        if not name.isdecimal() or int(name) >= len(value):
            raise ValueError(f"{place} has no member {name!r}; it has 0 to {len(value) - 1}")
        i = int(name)
        new = _changed(value[i], _member(annotation, i), rest, text, place=inside)
        return (*value[:i], new, *value[i + 1 :])
    if _is_table(value):
        if rest and name not in value:
            raise ValueError(f"{place} has no entry {name!r}; it has {list(value)}")
        new = _changed(value.get(name), _member(annotation, name), rest, text, place=inside)
        return {**value, name: new}
    raise ValueError(f"{place} is {value!r} and has no field {name!r}")


def _parsed(text: str, annotation: Any, *, place: str) -> Any:
    """The value that a text stands for: the first member of the annotation that it fits."""
    if text[:1] in ("{", "["):
        try:
            return _decoded(json.loads(text), annotation, place=place)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place}: {text!r} is not JSON ({error})") from None
    classes = _classes(annotation)
    if text in classes:
        return _decoded({"kind": text}, annotation, place=place)
    for option in _options(annotation):
        found = _scalar(text, option, place=place)
        if found is not MISSING:
            return found
    raise ValueError(f"{place} takes {_wanted(annotation)}; got {text!r}")


def _scalar(text: str, option: Any, *, place: str) -> Any:
    """The text as one option of an annotation, or MISSING."""
    if option is NoneType:
        return None if text.lower() == "none" else MISSING
    if get_origin(option) is Literal:
        return next((value for value in get_args(option) if str(value) == text), MISSING)
    if get_origin(option) is tuple:
        parts = [part.strip() for part in text.strip("()").split(",") if part.strip()]
        several = get_args(option)[1:] == (...,)
        if not several and len(parts) != len(get_args(option)):
            return MISSING
        return tuple(_parsed(p, _member(option, i), place=place) for i, p in enumerate(parts))
    if option is bool:
        return {"true": True, "false": False}.get(text.lower(), MISSING)
    if option is str:
        return text
    if option in (int, float):
        return _number(text, option)
    return MISSING


def _number(text: str, kind: type) -> Any:
    try:
        number = float(text)
    except ValueError:
        return MISSING
    if kind is float:
        return number if math.isfinite(number) else MISSING
    try:
        return int(text)
    except ValueError:
        return int(number) if number.is_integer() else MISSING


def _encoded(value: Any, annotation: Any) -> Any:
    if _is_settings(value):
        known = _annotations(value.__class__)
        body = {name: _encoded(getattr(value, name), hint) for name, hint in known.items()}
        named = len(_classes(annotation)) > 1
        return {"kind": type(value).__name__, **body} if named else body
    if _is_list(value):
        return [_encoded(v, _member(annotation, i)) for i, v in enumerate(value)]
    if _is_table(value):
        return {key: _encoded(v, _member(annotation, key)) for key, v in value.items()}
    return value


def _decoded(data: Any, annotation: Any, *, place: str) -> Any:
    classes = _classes(annotation)
    if _is_table(data) and classes:
        return _built(data, classes, place=place)
    for option in _options(annotation):
        origin = get_origin(option)
        if origin is tuple and _is_list(data):
            several = get_args(option)[1:] == (...,)
            if several or len(data) == len(get_args(option)):
                return tuple(
                    _decoded(value, _member(option, i), place=f"{place}.{i}")
                    for i, value in enumerate(data)
                )
        elif origin is dict and _is_table(data):
            inner = get_args(option)[1]
            return {k: _decoded(v, inner, place=f"{place}.{k}") for k, v in data.items()}
        elif _fits(data, option):
            kept: Any = data
            return float(kept) if option is float else kept
    raise ValueError(f"{place} takes {_wanted(annotation)}; got {data!r}")


def _fits(data: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return data in get_args(option)
    if option is float:
        return isinstance(data, int | float) and not isinstance(data, bool)
    if option is int:
        return isinstance(data, int) and not isinstance(data, bool)
    return option in (str, bool, NoneType) and isinstance(data, option)


def _built(data: dict[str, Any], classes: dict[str, type], *, place: str) -> Any:
    kind = data.get("kind", _unsaid(classes))
    if kind not in classes:
        raise ValueError(f"{place} is one of {list(classes)}; got {kind!r}")
    cls = classes[kind]
    known = _annotations(cls)
    given = {name: value for name, value in data.items() if name != "kind"}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {unknown[0]!r}; it has {list(known)}")
    wanting = [
        field.name
        for field in fields(cls)
        if field.init
        and field.name not in given
        and field.default is MISSING
        and field.default_factory is MISSING
    ]
    if wanting:
        raise ValueError(f"{place}: {cls.__name__} needs {wanting}, which have no default")
    return cls(**{n: _decoded(value, known[n], place=f"{place}.{n}") for n, value in given.items()})


def _unsaid(classes: dict[str, type]) -> str | None:
    """The class that is meant where none is named: the only one, or one that was before others."""
    alone = [name for name in classes if len(classes) == 1 or hasattr(classes[name], "was_alone")]
    return alone[0] if len(alone) == 1 else None


def _wanted(annotation: Any) -> str:
    """An annotation in the words of someone who writes a value."""
    words: list[str] = []
    for option in _options(annotation):
        if option is NoneType:
            words.append("none")
        elif get_origin(option) is Literal:
            words += [str(value) for value in get_args(option)]
        elif get_origin(option) is tuple and get_args(option)[1:] == (...,):
            words.append(f"a list of {_wanted(get_args(option)[0])}")
        elif get_origin(option) is tuple:
            words.append(f"{len(get_args(option))} values")
        else:
            words.append(getattr(option, "__name__", str(option)))
    return " or ".join(words)


def _walk(value: Any, annotation: Any, path: str) -> Iterator[tuple[str, Any]]:
    start = f"{path}." if path else ""
    if _is_settings(value):
        if len(_options(annotation)) > 1:
            yield path, type(value).__name__
        for name, hint in _annotations(value.__class__).items():
            yield from _walk(getattr(value, name), hint, start + name)
    elif _is_list(value) and any(map(_is_settings, value)):
        for i, member in enumerate(value):
            yield from _walk(member, _member(annotation, i), f"{start}{i}")
    elif _is_table(value):
        for key, member in value.items():
            yield from _walk(member, _member(annotation, key), f"{start}{key}")
    else:
        yield path, value


def _lines(settings: Any, depth: int) -> Iterator[str]:
    for name in _annotations(settings.__class__):
        yield from _shown(name, getattr(settings, name), depth)


def _shown(name: str, value: Any, depth: int) -> Iterator[str]:
    space = "  " * depth
    if _is_settings(value):
        yield f"{space}{name}: {type(value).__name__}"
        yield from _lines(value, depth + 1)
    elif _is_list(value) and any(map(_is_settings, value)):
        yield f"{space}{name}:"
        for i, member in enumerate(value):
            yield from _shown(str(i), member, depth + 1)
    else:
        yield f"{space}{name}: {value}"
