"""From the JSON of OpenAI's chat completions to what the engine is asked.

Accepted and without effect: `user`, `metadata`, `store`, `service_tier`, `reasoning_effort`,
`verbosity`, `prediction` and whatever is not known. `top_k` and `repetition_penalty` are read
although OpenAI has none.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.wire import bytes_of
from castor.sample.ask import MOST_ALTERNATIVES, MOST_CANDIDATES
from castor.sample.choose import Sampling
from castor.serve import refusal
from castor.serve.fields import (
    as_mapping,
    choice,
    flag,
    listed,
    mapping,
    number,
    text,
    texts,
    whole,
)
from castor.serve.generate import Prompt, Wanted, asked
from castor.serve.options import Language, Options, seed_of, stops_of
from castor.serve.prompt import arranged, perceived
from castor.serve.refusal import refusals
from castor.serve.service import Desk, Settings
from castor.serve.tools import NOTHING, Function, Tools

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "model",
    "tool": "user",
}
MOST_STOPS = 16
SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}
DATA_URI = re.compile(r"data:([^;,]+)(?:;[^,]*)?;base64,", re.IGNORECASE)
NUMBERS = {  # lowest and highest
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repetition_penalty": (0.1, 10),
}
WHOLES = {  # the same of whole numbers
    "n": (1, MOST_CANDIDATES),
    "max_tokens": (1, 2**31 - 1),
    "max_completion_tokens": (1, 2**31 - 1),
    "top_k": (-1, 1_000_000),
    "seed": (-(2**63), 2**63 - 1),
    "top_logprobs": (0, MOST_ALTERNATIVES),
}
UNMET = ("audio", "functions", "function_call", "logit_bias", "web_search_options")


class ChatWanted(NamedTuple):
    wanted: Wanted
    streams: bool
    counts: bool  # whether a stream ends with its usage
    parallel: bool  # whether a reply may hold several calls


def chat_wanted(
    wire: Mapping[str, Any], *, desk: Desk, settings: Settings, deadline_s: float | None
) -> ChatWanted:
    """What a request for a chat completion asks for.

    Raises:
        Refusal: something in it is wrong, or not for this server.
    """
    with refusals():
        for name in UNMET:
            if wire.get(name):
                raise refusal.unsupported(name)
        tools = tools_of(wire)
        document = document_of(wire, desk=desk, declared=tools.declared)
        options = options_of(wire, desk=desk, settings=settings)
        parallel = wire.get("parallel_tool_calls") is not False
        return ChatWanted(
            asked(Prompt(document, tools), options, desk=desk, deadline_s=deadline_s),
            streams=flag(wire, "stream", at=""),
            counts=flag(mapping(wire, "stream_options", at=""), "include_usage", at=""),
            parallel=parallel,
        )


def document_of(wire: Mapping[str, Any], *, desk: Desk, declared: str) -> Document:
    """The messages as a prompt.

    Raises:
        ValueError: something in them is wrong, or the model does not perceive it.
    """
    messages = listed(wire, "messages")
    if not messages:
        raise ValueError("messages: at least one message is needed")
    names: dict[str, str] = {}  # of functions, by the ids of their calls
    turns: list[Turn] = []
    for i, each in enumerate(messages):
        message, place = as_mapping(each, at=f"messages[{i}]"), f"messages[{i}]"
        told = str(message.get("role"))
        if told not in ROLES:
            raise ValueError(f"{place}.role: {told!r} is not one of {', '.join(ROLES)}")
        if told == "tool":
            parts: Sequence[Part] = [_result(message, names, place)]
        else:
            content = _content(message, ROLES[told], desk, place)
            calls = _calls(message, f"{place}.tool_calls")
            names |= {call.id: call.name for call in calls}
            parts = [*content, *calls]
        turns.append(Turn(ROLES[told], tuple(parts)))
    return arranged(turns, declared=declared)


def tools_of(wire: Mapping[str, Any]) -> Tools:
    """What `tools` and `tool_choice` say.

    Raises:
        ValueError: something is not in the form of the API.
        Refusal: a tool is asked for that this server does not have.
    """
    functions: list[Function] = []
    for i, each in enumerate(listed(wire, "tools")):
        tool, place = as_mapping(each, at=f"tools[{i}]"), f"tools[{i}].function"
        if tool.get("type", "function") != "function":
            raise refusal.unsupported(f"tools[{i}].type {tool['type']!r}")
        inner = mapping(tool, "function", at=f"tools[{i}]")
        name, told = text(inner, "name", at=place), text(inner, "description", at=place)
        schema = mapping(inner, "parameters", at=place)
        functions.append(Function(name, told, schema or NOTHING))
    wish = wire.get("tool_choice")
    only: tuple[str, ...] = ()
    if isinstance(wish, Mapping):
        chosen = cast("Mapping[str, Any]", wish)
        if chosen.get("type", "function") != "function":
            raise refusal.unsupported(f"tool_choice.type {chosen['type']!r}")
        only = (text(mapping(chosen, "function", at="tool_choice"), "name", at="tool_choice"),)
        wish = "required"
    wishes = ("NONE", "AUTO", "REQUIRED")
    mode = choice(wish, wishes, at="tool_choice", absent="AUTO")
    if mode == "REQUIRED" and not functions:
        raise ValueError("tool_choice: a call is required and no function is declared")
    usable = "any" if mode == "REQUIRED" else "auto"
    return Tools(tuple(functions), usable if functions and mode != "NONE" else "", only)


def options_of(wire: Mapping[str, Any], *, desk: Desk, settings: Settings) -> Options:
    """The settings of the reply.

    Raises:
        ValueError: a value is none of the API's, or outside its range.
        Refusal: it asks for what this server does not do.
    """
    logprobs = flag(wire, "logprobs", at="")
    alternatives = _whole(wire, "top_logprobs")
    if alternatives is not None and not logprobs:
        raise ValueError("top_logprobs: set only where logprobs is true")
    return Options(
        sampling=_sampling(wire, desk, settings),
        candidates=_whole(wire, "n") or 1,
        logprobs=logprobs,
        alternatives=alternatives or 0,
        language=_language(mapping(wire, "response_format", at="")),
    )


def _sampling(wire: Mapping[str, Any], desk: Desk, settings: Settings) -> Sampling:
    named = "max_tokens" if wire.get("max_completion_tokens") is None else "max_completion_tokens"
    most = _whole(wire, named)
    read: dict[str, float | None] = {name: _number(wire, name) for name in NUMBERS}
    read["top_k"] = _whole(wire, "top_k")
    usual = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
    }
    given = usual | {name: value for name, value in read.items() if value is not None}
    given["top_k"] = max(0, given["top_k"])  # elsewhere -1 means all
    wanted = {kind.lower() for kind in texts(wire, "modalities", at="")}
    if wanted - ({"text", "image"} if desk.draws else {"text"}):
        raise refusal.unsupported(f"modalities {sorted(wanted)}")
    return Sampling(
        **cast("dict[str, Any]", given),
        stop=stops_of(texts(wire, "stop", at=""), at="stop", most=MOST_STOPS),
        max_tokens=min(most or desk.context, desk.context),
        seed=seed_of(_whole(wire, "seed")),
        pictures="allowed" if "image" in wanted else "never",
    )


def _number(wire: Mapping[str, Any], name: str) -> float | None:
    low, high = NUMBERS[name]
    return number(wire, name, at="", low=low, high=high)


def _whole(wire: Mapping[str, Any], name: str) -> int | None:
    low, high = WHOLES[name]
    return whole(wire, name, at="", low=low, high=high)


def _language(form: Mapping[str, Any]) -> Language | None:
    match form.get("type", "text"):
        case "text":
            return None
        case "json_object":
            return ("json", None)
        case "json_schema":
            inner = mapping(form, "json_schema", at="response_format")
            schema = mapping(inner, "schema", at="response_format.json_schema")
            return ("schema", schema) if schema else ("json", None)
        case other:
            raise ValueError(
                f"response_format.type: {other!r} is not one of text, json_object, json_schema"
            )


def _content(
    message: Mapping[str, Any], role: Role, desk: Desk, place: str
) -> Iterator[Text | Media]:
    content = message.get("content")
    if isinstance(content, str):
        yield Text(content)
        return
    for i, each in enumerate(listed(message, "content")):
        at = f"{place}.content[{i}]"
        part = _part(as_mapping(each, at=at), at)
        yield perceived(part, role=role, desk=desk) if isinstance(part, Media) else part


def _part(part: Mapping[str, Any], place: str) -> Text | Media:
    kind = part.get("type")
    match kind:
        case "text" | "refusal":
            return Text(text(part, str(kind), at=place))
        case "image_url" | "video_url":
            held = part.get(kind)
            inner = {"url": held} if isinstance(held, str) else mapping(part, kind, at=place)
            return _data_uri(text(inner, "url", at=f"{place}.{kind}"), f"{place}.{kind}")
        case "input_audio":
            inner = mapping(part, "input_audio", at=place)
            form = text(inner, "format", at=place)
            data = bytes_of(text(inner, "data", at=place), place)
            return Media(SOUNDS.get(form, f"audio/{form}"), data)
        case "file":
            inner = mapping(part, "file", at=place)
            return _data_uri(text(inner, "file_data", at=f"{place}.file"), f"{place}.file")
        case _:
            raise ValueError(f"{place}.type: {kind!r} is not a kind of content that is read here")


def _data_uri(uri: str, place: str) -> Media:
    found = DATA_URI.match(uri)
    if found is None:
        raise ValueError(
            f"{place}: only data:…;base64,… is read, nothing is fetched; got {uri!r:.60}"
        )
    return Media(found[1], bytes_of(uri[found.end() :], place))


def _calls(message: Mapping[str, Any], place: str) -> list[Call]:
    calls: list[Call] = []
    for i, each in enumerate(listed(message, "tool_calls")):
        at = f"{place}[{i}]"
        call = as_mapping(each, at=at)
        function = mapping(call, "function", at=at)
        told = text(function, "arguments", at=f"{at}.function") or "{}"
        try:
            arguments = as_mapping(json.loads(told), at=f"{at}.function.arguments")
        except ValueError as error:
            raise ValueError(f"{at}.function.arguments: a JSON object ({error})") from None
        calls.append(Call(text(function, "name", at=at), arguments, text(call, "id", at=at)))
    return calls


def _result(message: Mapping[str, Any], names: Mapping[str, str], place: str) -> Result:
    id = text(message, "tool_call_id", at=place)
    name = names.get(id) or text(message, "name", at=place)
    if not name:
        raise ValueError(f"{place}.tool_call_id: no call before it has the id {id!r}")
    held = [part if isinstance(part, str) else part.get("text", "") for part in _texts(message)]
    told = "".join(map(str, held))
    try:
        value = json.loads(told)
    except ValueError:
        value = told
    answer = cast("dict[str, Any]", value) if isinstance(value, dict) else {"result": value}
    return Result(name, answer, id)


def _texts(message: Mapping[str, Any]) -> "list[str | Mapping[str, Any]]":
    return [
        each if isinstance(each, str) else as_mapping(each, at="content")
        for each in listed(message, "content")
    ]
