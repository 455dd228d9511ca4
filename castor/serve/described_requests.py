"""What the server reads of each request, as JSON Schemas by the messages' names.

Names of the Gemini API's messages and fields are those of `shapes`, ranges those of `options` and
`openai_request`. Only one form of what may be written in several is described: camelCase, lists as
lists, numbers as numbers, enums in capitals.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from castor.core.wire import KINDS, ROLE_NAMES
from castor.serve import openai_request, options
from castor.serve.caches import CONTENT
from castor.serve.embedding import MOST, WIDEST
from castor.serve.files import NAME
from castor.serve.interactions_request import MEDIA
from castor.serve.openai import MOST_INPUTS
from castor.serve.prompt import UNREAD
from castor.serve.resources import DURATION
from castor.serve.shapes import LEAF, SHAPES
from castor.serve.tools import GEMINI_MODES
from castor.serve.tools import NAME as FUNCTION

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
OBJECT: Schema = {"type": "object"}
FILLED: Schema = TEXT | {"minLength": 1}
DIGITS = "[A-Za-z0-9+/_-]"
BASE64: Schema = TEXT | {
    "contentEncoding": "base64",
    "pattern": f"^({DIGITS}{{4}})*({DIGITS}{{2,3}})?={{0,2}}$",
}
MIME: Schema = TEXT | {"pattern": "^(image|audio|video|text)/[a-z0-9.+-]+$"}
FUNCTION_NAME: Schema = TEXT | {"pattern": f"^{FUNCTION.pattern}$"}
DURATIONS: Schema = TEXT | {"pattern": f"^{DURATION.pattern}$"}
TIME: Schema = TEXT | {"format": "date-time"}

LISTS = ("contents", "parts", "tools", "functionDeclarations", "safetySettings", "requests")
UNMET: dict[str, Iterable[str]] = {  # what is refused, wherever it says anything
    "Part": UNREAD,
    "FunctionResponse": ("parts",),
    "Tool": SHAPES["Tool"].keys() - {"functionDeclarations"},
    "GenerationConfig": options.UNMET,
}
REQUIRED = {
    "GenerateContentRequest": ("contents",),
    "EmbedContentRequest": ("content",),
    "BatchEmbedContentsRequest": ("requests",),
    "Content": ("parts",),
    "Blob": ("mimeType", "data"),
    "FileData": ("fileUri",),
    "FunctionCall": ("name",),
    "FunctionResponse": ("name",),
    "FunctionDeclaration": ("name",),
}


def ref(name: str) -> Schema:
    """A message by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def among(names: Sequence[str]) -> Schema:
    """One of some strings."""
    return {"type": "string", "enum": list(names)}


def many(items: Schema, *, least: int = 0, most: int | None = None) -> Schema:
    """A list."""
    most_ = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, **({"minItems": least} if least else {}), **most_}


def message(fields: Mapping[str, Schema], *perhaps: Mapping[str, Schema]) -> Schema:
    """An object that has these fields, and perhaps the others."""
    properties = {**fields, **{name: told for other in perhaps for name, told in other.items()}}
    required = {"required": list(fields)} if fields else {}
    return {"type": "object", "properties": properties, **required}


def each(names: str, schema: Schema) -> dict[str, Schema]:
    """Fields of one kind."""
    return dict.fromkeys(names.split(), schema)


def ranges(kind: str, bounds: Mapping[str, tuple[float, float]]) -> dict[str, Schema]:
    """Numbers by their names, each with its lowest and highest value."""
    return {
        name: {"type": kind, "minimum": low, "maximum": high}
        for name, (low, high) in bounds.items()
    }


STOPS = many(FILLED, most=options.MOST_STOPS)
LEAVES: dict[str, dict[str, Schema]] = {  # what is not here has no effect, whatever it is
    "GenerateContentRequest": {"model": TEXT, "cachedContent": TEXT},
    "EmbedContentRequest": {
        "model": TEXT,
        **ranges("integer", {"outputDimensionality": (1, WIDEST)}),
        "embedContentConfig": message({}, ranges("integer", {"outputDimensionality": (1, WIDEST)})),
    },
    "Content": {"role": among(sorted(ROLE_NAMES.keys() - {"page"}))},
    "Part": {"text": TEXT, "thought": FLAG},
    "Blob": {"mimeType": MIME, "data": BASE64},
    "FileData": {"mimeType": MIME, "fileUri": TEXT | {"pattern": f"{NAME.pattern}$"}},
    "FunctionCall": {"id": TEXT, "name": FILLED, "args": OBJECT},
    "FunctionResponse": {"id": TEXT, "name": FILLED, "response": OBJECT},
    "FunctionDeclaration": {
        "name": FUNCTION_NAME,
        "description": TEXT,
        "parameters": OBJECT,
        "parametersJsonSchema": OBJECT,
    },
    "FunctionCallingConfig": {
        "mode": among(GEMINI_MODES),
        "allowedFunctionNames": many(TEXT),
    },
    "SafetySetting": {
        "category": among([f"HARM_CATEGORY_{name}" for name in options.CATEGORIES]),
        "threshold": among(options.THRESHOLDS),
    },
    "GenerationConfig": {
        **ranges("number", options.NUMBERS),
        **ranges("integer", options.WHOLES),
        "stopSequences": STOPS,
        "responseLogprobs": FLAG,
        "responseMimeType": among(options.MIMES),
        "responseSchema": OBJECT,
        "responseJsonSchema": OBJECT,
        "responseModalities": many(among(options.MODALITIES)),
    },
    "ThinkingConfig": {
        "includeThoughts": FLAG,
        **ranges("integer", {"thinkingBudget": (-1, options.MOST_BUDGET)}),
        "thinkingLevel": among(options.LEVELS),
    },
    "ImageConfig": {
        "aspectRatio": among(options.RATIOS),
        "imageSize": among(["1K"]),
        "outputMimeType": among(["image/png"]),
    },
}
LEAVES["CountTokensRequest"] = LEAVES["GenerateContentRequest"]
LEAVES["BatchEmbedContentsRequest"] = {"model": TEXT}
REQUESTS = ("GenerateContentRequest", "CountTokensRequest", "EmbedContentRequest")


def gemini() -> dict[str, Schema]:
    """The Gemini API's own messages, all that the requests hold."""
    found, left = dict[str, Schema](), [*REQUESTS, "BatchEmbedContentsRequest"]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = _of_shape(name)
            left += [held for held in SHAPES[name].values() if held != LEAF]
    found["Part"]["oneOf"] = _one_of(KINDS)
    found["CountTokensRequest"]["oneOf"] = _one_of(("contents", "generateContentRequest"))
    return found


def _one_of(names: Iterable[str]) -> list[Schema]:
    return [{"required": [name]} for name in names]


def _of_shape(name: str) -> Schema:
    fields = dict[str, Schema]()
    for field, held in SHAPES[name].items():
        if field in UNMET.get(name, ()):
            continue
        if held == LEAF:
            fields[field] = LEAVES.get(name, {}).get(field, ANY)
        else:
            fields[field] = many(ref(held)) if field in LISTS else ref(held)
    required = REQUIRED.get(name, ())
    if name == "BatchEmbedContentsRequest":
        fields["requests"] |= {"minItems": 1, "maxItems": MOST}
    for field in set(required) & set(LISTS):
        fields[field] = {"minItems": 1, **fields[field]}
    return message(
        {field: fields[field] for field in required},
        {field: told for field, told in fields.items() if field not in required},
    )


def kept() -> dict[str, Schema]:
    """Requests about what is kept: caches, batches, uploads and ratings."""
    shape = SHAPES["GenerateContentRequest"]
    held = {name: ref(shape[name]) for name in CONTENT}
    held |= {name: many(told) for name, told in held.items() if name in LISTS}
    expiry: dict[str, Schema] = {"ttl": DURATIONS, "expireTime": TIME}
    inline = message({"requests": many(ref("BatchedRequest"), least=1)})
    file = {"name": TEXT | {"pattern": f"^{NAME.pattern}$"}, "displayName": TEXT, "mimeType": TEXT}
    size: Schema = {"type": ["string", "integer"], "pattern": "^[0-9]{1,18}$", "minimum": 0}
    batch = {"displayName": TEXT, "priority": WHOLE}
    config: Schema = message({}, {"fileName": FILLED, "requests": inline})
    config["oneOf"] = _one_of(("fileName", "requests"))
    cache = message({"model": FILLED}, held, expiry, {"displayName": TEXT})
    cache |= {"anyOf": _one_of(held), "not": {"required": list(expiry)}}
    return {
        "NewCachedContent": cache,
        "CachedContentUpdate": message({}, expiry) | {"oneOf": _one_of(expiry)},
        "BatchedRequest": message(
            {"request": ref("GenerateContentRequest")}, {"metadata": OBJECT, "key": TEXT}
        ),
        "NewBatch": message({"batch": message({"inputConfig": config}, batch)}),
        "NewFile": message({}, {"file": message({}, file, {"sizeBytes": size})}),
        "Rating": OBJECT,
    }


def openai() -> dict[str, Schema]:
    """Requests of OpenAI's API."""
    numbers = ranges("number", openai_request.NUMBERS)
    wholes = ranges("integer", openai_request.WHOLES)
    function = {"name": FUNCTION_NAME}, {"description": TEXT, "parameters": OBJECT}
    tool = message({"type": among(["function"]), "function": message(*function)})
    named = message({"type": among(["function"]), "function": message({"name": TEXT})})
    form = message({}, {"json_schema": message({}, {"schema": OBJECT})})
    form["properties"]["type"] = among(["text", "json_object", "json_schema"])
    return {
        "ChatCompletionRequest": message(
            {"model": TEXT, "messages": many(ref("ChatMessage"), least=1)},
            numbers,
            wholes,
            {
                "stop": {"anyOf": [FILLED, many(FILLED, most=openai_request.MOST_STOPS)]},
                "stream": FLAG,
                "stream_options": message({}, {"include_usage": FLAG}),
                "tools": many(tool),
                "tool_choice": {"anyOf": [among(["none", "auto", "required"]), named]},
                "parallel_tool_calls": FLAG,
                "response_format": form,
                "logprobs": FLAG,
                "modalities": many(among(["text", "image"])),
            },
        ),
        "ChatMessage": message(
            {"role": among(list(openai_request.ROLES))},
            {"content": {"anyOf": [TEXT, many(ref("ChatPart"))]}, "tool_call_id": TEXT},
            {"tool_calls": many(ref("ChatCall")), "name": TEXT},
        ),
        "ChatCall": message(
            {"function": message({"name": FILLED}, {"arguments": TEXT})}, {"id": TEXT}
        ),
        "ChatPart": _chat_part(),
        "EmbeddingRequest": message(
            {"model": TEXT, "input": {"anyOf": [FILLED, many(FILLED, least=1, most=MOST_INPUTS)]}},
            ranges("integer", {"dimensions": (1, WIDEST)}),
            {"encoding_format": among(["float", "base64"])},
        ),
    }


def _chat_part() -> Schema:
    """One object for each kind of content; `type` says which."""
    uri = "^data:(image|video)/[a-z0-9]+;base64,[A-Za-z0-9]*$"
    link = message({"url": TEXT | {"pattern": uri}})
    sound = message({"format": among(list(openai_request.SOUNDS)), "data": BASE64})
    file = message({"file_data": link["properties"]["url"]})
    held = {
        **{"text": TEXT, "refusal": TEXT, "image_url": link, "video_url": link},
        **{"input_audio": sound, "file": file},
    }
    return {"oneOf": [message({"type": among([k]), k: told}) for k, told in held.items()]}


def interactions() -> dict[str, Schema]:
    """Requests of the Interactions API."""
    numbers = ranges("number", {"temperature": options.NUMBERS["temperature"]})
    numbers |= ranges("number", {"top_p": options.NUMBERS["topP"]})
    wholes = {"seed": options.WHOLES["seed"]}
    wholes |= {"max_output_tokens": options.WHOLES["maxOutputTokens"]}
    image: Schema = {"aspect_ratio": among(options.RATIOS), "image_size": among(["1K"])}
    allowed = message({}, {"mode": among(GEMINI_MODES), "tools": many(TEXT)})
    settings = message(
        {},
        numbers,
        ranges("integer", wholes),
        {"stop_sequences": STOPS, "thinking_level": among(options.LEVELS)},
        {"image_config": message({}, image)},
        {"tool_choice": {"anyOf": [among(GEMINI_MODES), message({"allowed_tools": allowed})]}},
    )
    tool = message(
        {"type": among(["function"]), "name": FUNCTION_NAME},
        {"description": TEXT, "parameters": OBJECT},
    )
    forms = [
        message({"type": among(["text"])}, {"schema": OBJECT, "mime_type": among(options.MIMES)}),
        message({"type": among(["image"])}, image),
    ]
    return {
        "NewInteraction": message(
            {"model": TEXT, "input": {"anyOf": [TEXT, many(ref("InteractionStep"), least=1)]}},
            {"previous_interaction_id": TEXT, "stream": FLAG, "store": FLAG},
            {"system_instruction": TEXT, "cached_content": TEXT, "tools": many(tool)},
            {"generation_config": settings, "response_mime_type": among(options.MIMES)},
            {"response_modalities": many(among(["text", "image"]))},
            {"response_format": {"anyOf": [*forms, many({"anyOf": forms})]}},
        ),
        "InteractionStep": _step(),
        "InteractionContent": {"oneOf": _contents()},
    }


def _contents() -> list[Schema]:
    told = message({"type": among(["text"]), "text": TEXT})
    medium = message({"type": among(MEDIA)}, {"mime_type": MIME, "data": BASE64, "uri": TEXT})
    medium["oneOf"] = _one_of(("data", "uri"))
    return [told, medium]


def _step() -> Schema:
    said = {"type": among(["user_input", "model_output"])}
    called = {"type": among(["function_call"]), "id": TEXT, "name": FILLED}
    answered = {"type": among(["function_result"]), "call_id": TEXT}
    result = {"anyOf": [TEXT, OBJECT, many(_contents()[0])]}
    steps = [
        message(said, {"content": many(ref("InteractionContent"))}),
        message(called, {"arguments": OBJECT}),
        message(answered, {"name": TEXT, "result": result, "is_error": FLAG}),
    ]
    return {"oneOf": [*steps, *_contents()]}
