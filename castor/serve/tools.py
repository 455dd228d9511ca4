"""Functions that a request declares, and when the model may call them.

They reach the model as text in the system turn (see `prompt.py`), and their schemas reach the
engine, so that a call is always of a declared function and its arguments always fit.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from castor.sample.constrain_openapi import from_openapi
from castor.serve import refusal
from castor.serve.fields import as_mapping, choice, listed, mapping, text, texts

MODES = ("auto", "any", "validated")  # what Desk.constraint("calls", (functions, mode)) is given
GEMINI_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}  # takes none


@dataclass(frozen=True)
class Function:
    """One declaration; `schema` is the JSON Schema of its arguments.

    Raises:
        ValueError: the name is none that a function may have.
    """

    name: str
    description: str
    schema: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"Invalid function name {self.name!r}. Must start with a letter or an underscore. "
                "Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or "
                "dashes (-), with a maximum length of 128."
            )

    @property
    def line(self) -> str:
        """The declaration as the model reads it."""
        fields = {"name": self.name, "description": self.description, "parameters": self.schema}
        told = {name: value for name, value in fields.items() if value or name != "description"}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Tools:
    """All declarations and the mode: one of MODES, or "" where nothing may be called.

    Raises:
        ValueError: a name is declared twice, or one that may be called is not declared.
    """

    functions: tuple[Function, ...] = ()
    mode: str = ""
    only: tuple[str, ...] = ()  # names that may be called; none = all

    def __post_init__(self) -> None:
        names = [function.name for function in self.functions]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"Duplicate function declaration found: {twice[0]}")
        for name in self.only:
            if name not in names:
                raise ValueError(f"{name!r} may be called but is not among the declared {names}")

    @property
    def declared(self) -> str:
        """What the model reads of them; nothing where nothing may be called."""
        return "\n".join(function.line for function in self.functions) if self.mode else ""

    @property
    def spec(self) -> tuple[dict[str, Mapping[str, Any]], str]:
        """What the engine is given."""
        callable_ = [f for f in self.functions if not self.only or f.name in self.only]
        return {f.name: f.schema for f in callable_}, self.mode


def tools_of(fields: Mapping[str, Any]) -> Tools:
    """What `tools` and `toolConfig` of a request say.

    Raises:
        ValueError: something is not in the form of the API.
        Refusal: a tool is asked for that this server does not have.
    """
    functions: list[Function] = []
    for i, each in enumerate(listed(fields, "tools")):
        tool = as_mapping(each, at=f"tools[{i}]")
        for name, value in tool.items():
            if name != "functionDeclarations" and value not in (None, []):
                raise refusal.unsupported(f"tools[{i}].{name}")
        for k, declaration in enumerate(listed(tool, "functionDeclarations")):
            place = f"tools[{i}].functionDeclarations[{k}]"
            functions.append(_function(as_mapping(declaration, at=place), place))
    config = mapping(fields, "toolConfig", at="")
    return _with_mode(tuple(functions), mapping(config, "functionCallingConfig", at="toolConfig"))


def _with_mode(functions: tuple[Function, ...], config: Mapping[str, Any]) -> Tools:
    place = "toolConfig.functionCallingConfig"
    told = choice(config.get("mode"), GEMINI_MODES, at=f"{place}.mode", absent="AUTO")
    mode = "AUTO" if told == "MODE_UNSPECIFIED" else told
    only = texts(config, "allowedFunctionNames", at=place)
    if only and mode not in ("ANY", "VALIDATED"):
        raise ValueError(
            "Allowed function names should only be set when function calling mode is ANY or "
            f"VALIDATED; got {mode}."
        )
    if mode == "ANY" and not functions:
        raise ValueError("Function calling config is set without function_declarations.")
    usable = mode != "NONE" and bool(functions)
    return Tools(functions, mode.lower() if usable else "", only)


def _function(fields: Mapping[str, Any], place: str) -> Function:
    if "parameters" in fields and "parametersJsonSchema" in fields:
        raise ValueError(f"{place} has both parameters and parametersJsonSchema; give one")
    schema: Mapping[str, Any] = mapping(fields, "parametersJsonSchema", at=place)
    if "parameters" in fields:
        schema = from_openapi(fields["parameters"], path=f"{place}.parameters")
    return Function(
        text(fields, "name", at=place), text(fields, "description", at=place), schema or NOTHING
    )
