"""Functions that a request declares, and when they may be called."""

import json
from typing import Any

import pytest

from castor.serve.refusal import Refusal
from castor.serve.tools import Function, Tools, tools_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
F = {"name": "f", "description": "does f", "parametersJsonSchema": SCHEMA}


def read(*declarations: Any, **config: Any) -> Tools:
    fields: dict[str, Any] = {"tools": [{"functionDeclarations": list(declarations)}]}
    if config:
        fields["toolConfig"] = {"functionCallingConfig": config}
    return tools_of(fields)


def test_the_model_reads_one_line_of_compact_json_for_each_function() -> None:
    told = read(F, {"name": "g"}).declared.splitlines()
    assert told[0] == json.dumps(
        {"name": "f", "description": "does f", "parameters": SCHEMA}, separators=(",", ":")
    )
    assert told[1] == '{"name":"g","parameters":{"type":"object","properties":{}}}'


def test_the_apis_own_schemas_come_to_json_schemas() -> None:
    own = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": True}}}
    (function,) = read({"name": "f", "parameters": own}).functions
    inner = function.schema["properties"]["n"]
    assert inner == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("mode", "told"),
    [("AUTO", "auto"), ("any", "any"), ("VALIDATED", "validated"), ("MODE_UNSPECIFIED", "auto")],
)
def test_a_mode_is_what_the_engine_is_given(mode: str, told: str) -> None:
    assert read(F, mode=mode).spec == ({"f": SCHEMA}, told)
    assert read(F).mode == "auto"


def test_only_allowed_functions_may_be_called_while_all_are_declared() -> None:
    tools = read(F, {**F, "name": "g"}, mode="ANY", allowedFunctionNames=["g"])
    assert list(tools.spec[0]) == ["g"]
    assert len(tools.declared.splitlines()) == 2


def test_with_the_mode_none_the_model_reads_nothing_of_functions() -> None:
    tools = read(F, mode="NONE")
    assert (tools.mode, tools.declared) == ("", "")


def test_no_tools_are_no_tools() -> None:
    assert tools_of({}) == tools_of({"tools": [{}]}) == Tools()


@pytest.mark.parametrize(
    "tool", ["googleSearch", "codeExecution", "urlContext", "fileSearch", "mcpServers"]
)
def test_tools_that_the_server_lacks_are_refused_never_dropped(tool: str) -> None:
    with pytest.raises(Refusal, match=rf"tools\[0\].{tool} is not supported by this server"):
        tools_of({"tools": [{tool: {}}]})


@pytest.mark.parametrize(
    ("declared", "config", "message"),
    [
        ([F, F], {}, "Duplicate function declaration found: f"),
        ([{**F, "name": "1f"}], {}, "Invalid function name '1f'. Must start with a letter"),
        ([{**F, "name": "f" * 129}], {}, "with a maximum length of 128"),
        ([{"description": "x"}], {}, "Invalid function name ''"),
        ([{**F, "parameters": {}}], {}, "has both parameters and parametersJsonSchema"),
        ([{"name": "f", "parameters": {"type": "OBJECT", "$ref": "x"}}], {}, r"f?.*'\$ref' is not"),
        ([F], {"mode": "SOMETIMES"}, "toolConfig.functionCallingConfig.mode': 'SOMETIMES'"),
        ([F], {"allowedFunctionNames": ["f"]}, "should only be set when function calling mode is"),
        ([F], {"mode": "ANY", "allowedFunctionNames": ["g"]}, "'g' may be called but is not among"),
        ([], {"mode": "ANY"}, "Function calling config is set without function_declarations."),
        (["f"], {}, r"tools\[0\].functionDeclarations\[0\]': an object is needed"),
    ],
)
def test_declarations_in_another_form_are_refused(
    declared: list[Any], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(*declared, **config)


@pytest.mark.parametrize("name", ["f", "_", "mcp:server.tool-1", "f" * 128])
def test_names_that_the_api_allows_are_allowed(name: str) -> None:
    assert Function(name, "", SCHEMA).name == name
