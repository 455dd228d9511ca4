"""The Gemini API's own schemas (a subset of OpenAPI 3.0) as JSON Schemas."""

import re
from collections.abc import Mapping
from typing import Any

from castor.sample.schema import DEEPEST

INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}
NUMBERS = {
    *("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
    *("minimum", "maximum"),
}
KEPT = {"title", "description", "pattern", "propertyOrdering"}
NOTES = {"example", "default"}
MEANT = ("enum", "float", "double", "int64")  # formats that add nothing to the type


def from_openapi(schema: Any, *, path: str = "responseSchema") -> dict[str, Any]:
    """The JSON Schema of a `responseSchema` or of a function's `parameters`.

    Keys may be in camelCase or snake_case, types in any case, numbers in strings. An object that
    lists properties has no others; `propertyOrdering`, kept as it is, decides their order.

    Raises:
        ValueError: a keyword is not supported or its value makes no sense; the message names the
            path.
    """
    return _converted(schema, path, DEEPEST)


def _converted(schema: Any, path: str, levels: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise ValueError(f"{path}: a schema is an object; got {schema!r:.60}")
    if not levels:
        raise ValueError(f"{path}: the schema nests more than {DEEPEST} levels deep")
    given = {_camel(key): value for key, value in schema.items()}
    node: dict[str, Any] = {}
    for key, value in given.items():
        node |= _keyword(key, value, path, levels - 1)
    if "enum" in given:
        node["enum"] = [_typed(each, node.get("type"), f"{path}.enum") for each in given["enum"]]
    if given.get("format") == "int32":
        node |= {
            "minimum": max(node.get("minimum", INT32["minimum"]), INT32["minimum"]),
            "maximum": min(node.get("maximum", INT32["maximum"]), INT32["maximum"]),
        }
    for name in node.get("required", []) if "properties" in node else []:
        if name not in node["properties"]:
            raise ValueError(f"{path}.required: {name!r} is not among its properties")
    if "properties" in node:
        node.setdefault("additionalProperties", False)
    return {"anyOf": [node, {"type": "null"}]} if given.get("nullable") is True else node


def _keyword(key: str, value: Any, path: str, levels: int) -> dict[str, Any]:
    at = f"{path}.{key}"
    match key:
        case "type":
            names = [str(name).lower() for name in (value if isinstance(value, list) else [value])]
            kept = [name for name in names if name != "type_unspecified"]
            return {key: kept[0] if len(kept) == 1 else kept} if kept else {}
        case "nullable" if isinstance(value, bool):
            return {}
        case "format":
            return {} if value in (*MEANT, "int32") else {key: value}
        case "properties" if isinstance(value, Mapping):
            return {key: {n: _converted(each, f"{at}.{n}", levels) for n, each in value.items()}}
        case "anyOf" if isinstance(value, list):
            return {key: [_converted(v, f"{at}[{n}]", levels) for n, v in enumerate(value)]}
        case "items":
            return {key: _converted(value, at, levels)}
        case "additionalProperties":
            return {key: value if isinstance(value, bool) else _converted(value, at, levels)}
        case "enum" if isinstance(value, list):
            return {}  # once the type is known
        case "required" if isinstance(value, list) and all(isinstance(n, str) for n in value):
            return {key: value}
        case _ if key in NUMBERS:
            return {key: _number(value, at)}
        case _ if key in KEPT:
            return {key: value}
        case _ if key in NOTES:
            return {}
        case "nullable" | "properties" | "anyOf" | "enum" | "required":
            raise ValueError(f"{at} cannot be {value!r:.60}")
    raise ValueError(f"{path}: {key!r} is not supported")


def _camel(key: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), key)


def _number(value: Any, at: str) -> float:
    text = str(value)
    try:
        if re.fullmatch("-?[0-9]{1,99}", text):
            return int(text)
        number = float(text)
    except ValueError:
        raise ValueError(f"{at}: a number; got {value!r:.60}") from None
    return int(number) if number.is_integer() else number


def _typed(value: Any, type_: Any, at: str) -> Any:
    """A value of an enum, which the API writes as text whatever its type."""
    if type_ in ("integer", "number") and isinstance(value, str):
        return _number(value, at)
    return value
