"""Which parts of a schema have a value of finite size, and the schema without the others.

A schema may recurse without end where a choice leads elsewhere; a reply that went there could not
be finished.
"""

from collections.abc import Mapping
from typing import Any

Node = dict[str, Any] | bool  # a schema as `castor.sample.schema` narrows it: its types are a list


def that_end(definitions: Mapping[str, Node]) -> set[str]:
    """Names of the definitions that have a value of finite size."""
    ends: set[str] = set()
    names = list(definitions)
    while True:
        before = len(ends)
        names.reverse()  # a chain of references is told in the first pass or the second
        ends.update(n for n in names if n not in ends and _has_end(definitions[n], ends))
        if len(ends) == before:
            return ends


def _has_end(node: Node, ends: set[str]) -> bool:
    """Whether a node has a finite value if of all definitions these do."""
    if isinstance(node, bool):
        return node
    if "$ref" in node and node["$ref"].removeprefix("#/$defs/") not in ends:
        return False
    if "anyOf" in node and not any(_has_end(each, ends) for each in node["anyOf"]):
        return False
    if not all(_has_end(each, ends) for each in node.get("allOf", [])):
        return False
    if "enum" in node or "const" in node or "type" not in node:
        return node.get("enum") != []
    return any(_type_ends(node, name, ends) for name in node["type"])


def _type_ends(node: dict[str, Any], name: str, ends: set[str]) -> bool:
    if name == "object":
        others = "patternProperties" in node or node.get("additionalProperties") is not False
        needed = [node.get("properties", {}).get(n, others) for n in node.get("required", [])]
        return all(_has_end(each, ends) for each in needed)
    if name == "array":
        least, first = node.get("minItems", 0), node.get("prefixItems", [])
        rest = [node.get("items", True)] if least > len(first) else []
        return all(_has_end(each, ends) for each in [*first[:least], *rest])
    return True


def pruned(node: Node, ends: set[str]) -> Node:
    """A narrowed node with False for every part that has no finite value."""
    if isinstance(node, bool) or not _has_end(node, ends):
        return node is True
    kept = dict(node)
    for key in {"anyOf", "allOf", "prefixItems"} & node.keys():
        parts = [pruned(each, ends) for each in node[key]]
        kept[key] = [part for part in parts if part is not False] if key == "anyOf" else parts
    for key in {"properties", "patternProperties"} & node.keys():
        kept[key] = {name: pruned(each, ends) for name, each in node[key].items()}
    for key in {"items", "additionalProperties"} & node.keys():
        kept[key] = pruned(node[key], ends)
    return kept
