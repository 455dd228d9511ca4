"""From the JSON of the Interactions API to a GenerateContentRequest.

Accepted and without effect: `safety_settings`, `labels`, `service_tier`, `store` (but for what is
kept), `thinking_level`, `thinking_summaries`. An interaction takes over the talk of the one before
it, not its instruction, tools or settings.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from castor.serve import refusal
from castor.serve.fields import as_mapping, flag, listed, mapping, text
from castor.serve.shapes import camel

Wire = dict[str, Any]
MEDIA = ("image", "audio", "video", "document")
UNMET = ("background", "agent", "environment", "webhook_config")
UNMET_SETTINGS = ("speech_config", "video_config", "transcription_config")
NUMBERS = ("temperature", "top_p", "seed", "stop_sequences", "max_output_tokens", "image_config")
NO_TURN = ("thought",)  # steps that the model does not read again


def generate_request(wire: Mapping[str, Any], *, history: Sequence[Wire]) -> Wire:
    """The request that is answered; `history` are the contents of the interactions before.

    Raises:
        ValueError: something is not in the form of the API.
        Refusal: it asks for what this server does not do.
    """
    for name in UNMET:
        if wire.get(name):
            raise refusal.unsupported(name)
    given: Wire = {"contents": [*history, *contents_of(wire.get("input"), history)]}
    if wire.get("system_instruction"):
        given["systemInstruction"] = wire["system_instruction"]
    if wire.get("cached_content"):
        given["cachedContent"] = wire["cached_content"]
    if wire.get("tools"):
        given["tools"] = [{"functionDeclarations": _functions(wire)}]
    settings = mapping(wire, "generation_config", at="")
    if settings.get("tool_choice"):
        given["toolConfig"] = {"functionCallingConfig": _calling(settings["tool_choice"])}
    given["generationConfig"] = _settings(wire, settings)
    return given


def contents_of(given: Any, history: Sequence[Wire]) -> list[Wire]:
    """The contents of an input: a text, a list of content, or a list of steps.

    Raises:
        ValueError: it is none of these.
        Refusal: a step is of a kind that this server does not read.
    """
    if isinstance(given, str):
        return [{"role": "user", "parts": [{"text": given}]}]
    names = {id: name for content in history for id, name in _called(content)}
    contents: list[Wire] = []
    for i, each in enumerate(listed({"input": given}, "input")):
        place = f"input[{i}]"
        item = {"type": "text", "text": each} if isinstance(each, str) else each
        step = as_mapping(item, at=place)
        content = _content_of(step, names, place)
        names |= dict(_called(content))
        contents += [content] if content["parts"] else []
    return contents


def _content_of(step: Mapping[str, Any], names: Mapping[str, str], place: str) -> Wire:
    kind = text(step, "type", at=place)
    match kind:
        case "user_input" | "model_output":
            items = listed(step, "content")
            parts = [
                _part(as_mapping(item, at=f"{place}.content[{k}]"), f"{place}.content[{k}]")
                for k, item in enumerate(items)
            ]
            return {"role": "user" if kind == "user_input" else "model", "parts": parts}
        case "function_call":
            arguments = mapping(step, "arguments", at=place)
            call = {"name": text(step, "name", at=place), "args": arguments}
            part = {"functionCall": {**call, "id": text(step, "id", at=place)}}
            return {"role": "model", "parts": [part]}
        case "function_result":
            return {"role": "user", "parts": [_result(step, names, place)]}
        case _ if kind in NO_TURN:
            return {"role": "model", "parts": []}
        case _:
            return {"role": "user", "parts": [_part(step, place)]}


def _part(item: Mapping[str, Any], place: str) -> Wire:
    kind = text(item, "type", at=place)
    if kind == "text":
        return {"text": text(item, "text", at=place)}
    if kind not in MEDIA:
        raise refusal.unsupported(f"{place}.type {kind!r}")
    mime = text(item, "mime_type", at=place)
    if item.get("data") is not None:
        return {"inlineData": {"mimeType": mime, "data": item["data"]}}
    named = {"mimeType": mime} if mime else {}
    return {"fileData": {"fileUri": text(item, "uri", at=place), **named}}


def _result(step: Mapping[str, Any], names: Mapping[str, str], place: str) -> Wire:
    id, told = text(step, "call_id", at=place), step.get("result")
    name = text(step, "name", at=place) or names.get(id, "")
    if not name:
        raise ValueError(f"{place}.call_id: no call before it has the id {id!r}")
    if isinstance(told, list):
        items = [as_mapping(item, at=f"{place}.result") for item in cast("list[Any]", told)]
        if any(item.get("type") != "text" for item in items):
            raise refusal.unsupported(f"{place}.result with media")
        told = "".join(text(item, "text", at=f"{place}.result") for item in items)
    key = "error" if flag(step, "is_error", at=place) else "result"
    response = cast("Wire", told) if isinstance(told, dict) else {key: told}
    return {"functionResponse": {"name": name, "id": id, "response": response}}


def _called(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    return [(call.get("id", ""), call["name"]) for call in calls]


def _functions(wire: Mapping[str, Any]) -> list[Wire]:
    functions: list[Wire] = []
    for i, each in enumerate(listed(wire, "tools")):
        tool = as_mapping(each, at=f"tools[{i}]")
        if tool.get("type") != "function":
            raise refusal.unsupported(f"tools[{i}].type {tool.get('type')!r}")
        told = {key: tool[key] for key in ("name", "description") if tool.get(key)}
        schema = {"parametersJsonSchema": tool["parameters"]} if tool.get("parameters") else {}
        functions.append(told | schema)
    return functions


def _calling(choice: Any) -> Wire:
    if isinstance(choice, str):
        return {"mode": choice}
    allowed = mapping(as_mapping(choice, at="tool_choice"), "allowed_tools", at="tool_choice")
    mode = {"mode": allowed["mode"]} if allowed.get("mode") else {}
    return mode | {"allowedFunctionNames": allowed.get("tools") or []}


def _settings(wire: Mapping[str, Any], settings: Mapping[str, Any]) -> Wire:
    for name in UNMET_SETTINGS:
        if settings.get(name):
            raise refusal.unsupported(f"generation_config.{name}")
    config: Wire = {camel(name): settings[name] for name in NUMBERS if name in settings}
    if settings.get("thinking_level"):
        config["thinkingConfig"] = {"thinkingLevel": settings["thinking_level"]}
    if wire.get("response_modalities"):
        config["responseModalities"] = wire["response_modalities"]
    mime = text(wire, "response_mime_type", at="")
    for form in listed(wire, "response_format"):
        config = _formed(config, as_mapping(form, at="response_format"), mime)
    return config


def _formed(config: Wire, form: Mapping[str, Any], mime: str) -> Wire:
    """The settings with what one response format says; a schema alone is one, too."""
    match form.get("type"):
        case "text":
            schema = form.get("schema")
            usual = "application/json" if schema is not None else "text/plain"
            told = {"responseMimeType": text(form, "mime_type", at="response_format") or usual}
            return config | told | ({} if schema is None else {"responseJsonSchema": schema})
        case "image":
            names = ("aspect_ratio", "image_size")
            image = {camel(name): form[name] for name in names if form.get(name)}
            wanted = [*config.get("responseModalities", []), "IMAGE"]
            return config | {"responseModalities": wanted, "imageConfig": image}
        case "audio" | "video" as kind:
            raise refusal.unsupported(f"response_format.type {kind!r}")
        case _:
            told = {"responseMimeType": mime or "application/json"}
            return config | told | {"responseJsonSchema": form}
