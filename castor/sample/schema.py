"""JSON Schemas made ready for the grammar's compiler: checked, narrowed, and sure to have an end.

Invariant: every value of a narrowed schema is a value of the schema that it came from.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from castor.sample.constrain_ends import Node, pruned, that_end

MOST_BYTES = 256 * 1024  # of a schema's JSON [ours]
MOST_PROPERTIES = 1000  # of an object: with 1,000 an id takes 2 ms, with 5,000 it takes 200 [ours]
DEEPEST = 64  # levels of a schema's JSON; the compiler reads 128 [ours]
LEVELS = 16  # of arrays and objects in a value that a schema leaves open [ours]
LARGEST = 2**63 - 1024  # of any number written: the largest int64 that is a float64 [ours]
EXACT = 2**53  # whole numbers beyond it are rounded where float64 is spoken

ANNOTATIONS = {
    *("$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default"),
    *("example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"),
    *("contentEncoding", "contentMediaType", "contentSchema", "externalDocs", "propertyOrdering"),
}
FORMATS = {
    *("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
}
COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
MERGING = {"anyOf", "oneOf", "allOf", "$ref"}
OBJECTS = {"properties", "patternProperties", "additionalProperties"}
SPEAK_OF = {  # keywords that say nothing of other types
    "object": {*OBJECTS, "required", "minProperties", "maxProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {*BOUNDS, "multipleOf"},
}
TYPES = {"null", "boolean", "integer", *SPEAK_OF}
OPTIONS = {  # of the compiler: compact JSON; \u would be a second spelling of a taken key
    "whitespace_flexible": False,
    "json_allowed_escapes": 'nrbtf\\"',
}


class Schemas:
    """Schemas that are compiled together.

    What a schema leaves open is narrowed so that a reply can be read and is likelier to end:
    objects that list properties have no others (unless schemas are merged by `allOf` or beside
    `anyOf` or `$ref`), numbers have no exponent and fit int64, open values nest at most LEVELS
    deep. `oneOf` is read as `anyOf`; formats that are not FORMATS are ignored.
    """

    def __init__(self) -> None:
        self._definitions: dict[str, Node] = {}
        self._size = 0

    def add(self, schema: Any, path: str) -> Node:
        """The narrowed schema, part of what `whole` is then given.

        Raises:
            ValueError: it is no schema, not supported, or too large; the message names the path.
        """
        text = _json_of(schema, path)
        self._size += len(text)
        if self._size > MOST_BYTES:
            raise ValueError(f"{path}: {self._size} bytes of schema; at most {MOST_BYTES} are read")
        return _Document(json.loads(text), path, self._definitions).narrowed()

    def only_objects(self, node: Node) -> bool:
        """Whether each value of a narrowed schema is an object, as far as its types tell."""
        seen: set[str] = set()
        while isinstance(node, dict) and node.keys() == {"$ref"} and node["$ref"] not in seen:
            seen.add(node["$ref"])
            node = self._definitions[node["$ref"].removeprefix("#/$defs/")]
        return isinstance(node, dict) and node.get("type") == ["object"]

    def whole(self, root: Node, path: str) -> str:
        """A narrowed schema with all it refers to, as JSON; parts without a value are taken out.

        Raises:
            ValueError: no value satisfies it.
        """
        ends = that_end(self._definitions)
        root = pruned(root, ends)
        if root is False:
            raise ValueError(f"{path}: no value satisfies this schema, or it recurses without end")
        definitions = {name: pruned(node, ends) for name, node in self._definitions.items()}
        start = {} if root is True else root
        return json.dumps({"x-guidance": OPTIONS, "$defs": definitions, **start})


class _Document:
    """One schema as it was given: what its references lead to, and how it is narrowed."""

    def __init__(self, root: Any, path: str, definitions: dict[str, Node]) -> None:
        self._root, self._path, self._definitions = root, path, definitions
        self._closes = not any(map(_merges, _objects(root)))
        self._targets: dict[str, str] = {}  # pointer: name among the definitions
        self._pending: list[str] = []

    def narrowed(self) -> Node:
        root = self._narrow(self._root, self._path)
        while self._pending:  # no recursion: a chain of references may be long
            pointer = self._pending.pop()
            path = self._path + pointer.removeprefix("#").replace("/", ".")
            self._definitions[self._targets[pointer]] = self._narrow(self._find(pointer), path)
        return root

    def _narrow(self, schema: Any, path: str) -> Node:
        if isinstance(schema, bool):
            return self._any() if schema else False
        if {"anyOf", "oneOf"} <= _mapping(schema, path).keys():
            raise ValueError(f"{path}: 'oneOf' beside 'anyOf' is not supported")
        node: dict[str, Any] = {}
        for key, value in schema.items():
            if key not in ANNOTATIONS and not key.startswith("x-"):
                node |= self._keyword(key, value, f"{path}.{key}", path)
        types = _settle_type(node)
        if not node:
            return self._any()
        if {"enum", "const"} & node.keys():  # nothing is left open
            return node
        if {"integer", "number"} & types:
            _bound(node, types, path)
        if self._closes and (shared := UNBOUNDED.get(json.dumps(node))):
            return self._defined(shared)
        if "object" in types:
            self._settle_object(node, schema, path)
        if "array" in types and self._closes and not MERGING & node.keys():
            node.setdefault("items", False if "prefixItems" in node else self._any())
        return node

    def _keyword(self, key: str, value: Any, at: str, path: str) -> dict[str, Any]:
        match key:
            case "type":
                return {key: _types(value, at)}
            case "properties" | "patternProperties":
                pairs = _mapping(value, at).items()
                return {key: {name: self._narrow(each, f"{at}.{name}") for name, each in pairs}}
            case "items" | "additionalProperties":
                return {key: self._narrow(value, at)}
            case "anyOf" | "oneOf" | "allOf" | "prefixItems":
                pairs = enumerate(_list(value, at))
                options = [self._narrow(each, f"{at}[{n}]") for n, each in pairs]
                return {"anyOf" if key == "oneOf" else key: options}
            case "$ref":
                return {key: f"#/$defs/{self._name(value, at)}"}
            case "enum":
                return {key: [_exact(each, at) for each in _list(value, at)]}
            case "const":
                return {key: _exact(value, at)}
            case "required":
                return {key: [_text(each, at) for each in _list(value, at)]}
            case "pattern":
                return {key: _text(value, at)}
            case "format":
                return {key: value} if _text(value, at) in FORMATS else {}
            case "uniqueItems" if value is False:
                return {}
            case _ if key in COUNTS:
                return {key: _count(value, at)}
            case _ if key in BOUNDS or key == "multipleOf":
                return {key: _number(value, at)}
        raise ValueError(f"{path}: {key!r} is not supported")

    def _settle_object(self, node: dict[str, Any], schema: Mapping[str, Any], path: str) -> None:
        """The order of properties, and what others there may be."""
        properties: dict[str, Node] = node.get("properties", {})
        if len(properties) > MOST_PROPERTIES:
            raise ValueError(
                f"{path}: {len(properties)} properties; an object may have {MOST_PROPERTIES}"
            )
        order = _list(schema.get("propertyOrdering", []), f"{path}.propertyOrdering")
        for name in order:
            if name not in properties:
                raise ValueError(f"{path}.propertyOrdering: {name!r} is not among its properties")
        required = node.get("required", [])
        open_ended = "additionalProperties" not in node and not MERGING & node.keys()
        if self._closes and open_ended:
            listed = "properties" in node or "patternProperties" in node
            node["additionalProperties"] = False if listed else self._any()
            if "patternProperties" not in node:
                properties |= {n: self._any() for n in required if n not in properties}
        if properties:
            node["properties"] = {name: properties[name] for name in order} | properties
        least = node.get("minProperties", 0)
        if least > len(set(required)) + 1:  # keys that are not listed may come twice
            raise ValueError(
                f"{path}: 'minProperties' over the number of required properties and one more, "
                f"{len(set(required)) + 1}, is not supported; got {least}"
            )

    def _any(self) -> Node:
        """Any value; where schemas are merged, the compiler's own notion of it."""
        return self._defined("any0") if self._closes else True

    def _defined(self, name: str) -> Node:
        """What needs no definition of its own: it is compiled once, however often it stands."""
        self._definitions |= SHARED
        return {"$ref": f"#/$defs/{name}"}

    def _name(self, pointer: Any, path: str) -> str:
        if _text(pointer, path) != "#" and not pointer.startswith("#/"):
            raise ValueError(f"{path}: only references within the schema, '#…'; got {pointer!r}")
        if pointer not in self._targets:
            self._find(pointer, path)
            self._targets[pointer] = f"n{len(self._definitions)}"
            self._definitions[self._targets[pointer]] = False  # keeps the name until it is narrowed
            self._pending.append(pointer)
        return self._targets[pointer]

    def _find(self, pointer: str, path: str = "") -> Any:
        found = self._root
        for step in pointer.split("/")[1:]:
            step = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ValueError(f"{path}: {pointer!r} leads nowhere") from None
        return found


def _any_value(level: int) -> Node:
    deeper: Node = {"$ref": f"#/$defs/any{level + 1}"}
    holders = [
        {"type": ["array"], "items": deeper},
        {"type": ["object"], "additionalProperties": deeper},
    ]
    plain = [{"type": ["null"]}, {"type": ["boolean"]}, {"type": ["string"]}]
    number = {"$ref": "#/$defs/number"}
    return {"anyOf": [*plain, number, *(holders if level < LEVELS else [])]}


def _bound(node: dict[str, Any], types: set[str], path: str) -> None:
    """Bounds within LARGEST, inclusive ones: a text of many digits may be read as its bound."""
    whole = "number" not in types
    low, high = node.pop("minimum", -LARGEST), node.pop("maximum", LARGEST)
    if (over := node.pop("exclusiveMinimum", None)) is not None:
        low = max(low, math.floor(over) + 1 if whole else over + 1e-9 * max(1, abs(over)))
    if (under := node.pop("exclusiveMaximum", None)) is not None:
        high = min(high, math.ceil(under) - 1 if whole else under - 1e-9 * max(1, abs(under)))
    if whole:
        low, high = math.ceil(low), math.floor(high)
        low = -(-low // 1024) * 1024 if abs(low) > EXACT else low
        high = high // 1024 * 1024 if abs(high) > EXACT else high
    low, high = max(low, -LARGEST), min(high, LARGEST)
    if low > high:
        if types <= {"integer", "number"}:
            raise ValueError(f"{path}: no {'integer' if whole else 'number'} lies in its bounds")
        node["type"] = sorted(types - {"integer", "number"})
        return
    node |= {"minimum": low, "maximum": high}


def _settle_type(node: dict[str, Any]) -> set[str]:
    """The types of a node's values; they follow from its other keywords where it names none."""
    if "type" not in node and not {"enum", "const"} & node.keys():
        inferred = [name for name, keys in SPEAK_OF.items() if keys & node.keys()]
        if inferred:
            node["type"] = inferred
    return set(node.get("type", []))


def _merges(schema: Mapping[str, Any]) -> bool:
    """Whether a schema combines others so that one must leave room for what another lists."""
    several = isinstance(schema.get("allOf"), list) and len(schema["allOf"]) > 1
    ways = MERGING & schema.keys()
    return several or len(ways) > 1 or bool(ways and OBJECTS & schema.keys())


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in _inside(value):
        yield from _objects(inner)


def _json_of(schema: Any, path: str) -> str:
    """The JSON of a schema, which is no deeper than all that follows can walk."""
    level, depth = [schema], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"{path}: the schema nests more than {DEEPEST} levels deep")
        level = [inner for each in level for inner in _inside(each)]
        depth += 1
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the schema is no JSON: {error}") from None
    return text


def _types(value: Any, at: str) -> list[str]:
    names = [str(name).lower() for name in (value if isinstance(value, list) else [value])]
    if not names or not TYPES.issuperset(names):
        raise ValueError(f"{at}: a type is one of {sorted(TYPES)}; got {_short(value)}")
    return names


def _exact(value: Any, at: str) -> Any:
    """A value that may be written; whole numbers that the compiler would round are refused."""
    if isinstance(value, int) and abs(value) > EXACT:
        raise ValueError(f"{at}: whole numbers beyond 2^53 are not supported; got {value}")
    for inner in _inside(value):
        _exact(inner, at)
    return value


def _count(value: Any, at: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{at}: a whole number from 0; got {_short(value)}")
    return value


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{at}: a number; got {_short(value)}")
    return value


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{at}: a text; got {_short(value)}")
    return value


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{at}: a list; got {_short(value)}")
    return value


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{at}: an object; got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


NUMBERS: dict[str, Node] = {
    name: {"type": [name], "minimum": -LARGEST, "maximum": LARGEST}
    for name in ("integer", "number")
}
UNBOUNDED = {json.dumps(node): name for name, node in NUMBERS.items()}
SHARED = {f"any{level}": _any_value(level) for level in range(LEVELS + 1)} | NUMBERS
