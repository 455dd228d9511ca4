"""Requests that between them say everything that the description knows, by operation."""

from typing import Any

Body = dict[str, Any]

DATA = "AAAA"
URI = f"data:image/png;base64,{DATA}"
NAME = "castor-fake"
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
FUNCTION = {"name": "f", "description": "g", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PICTURE = {"type": "image", "mime_type": "image/png", "data": DATA}
STEPS = [
    {"type": "user_input", "content": [{"type": "text", "text": "hi"}, PICTURE]},
    {"type": "function_call", "id": "1", "name": "f", "arguments": {}},
    {"type": "function_result", "call_id": "1", "name": "f", "result": "x", "is_error": True},
    {"type": "function_call", "id": "2", "name": "f"},
    {"type": "function_result", "call_id": "2", "result": [{"type": "text", "text": "x"}]},
    {"type": "model_output", "content": [{"type": "text", "text": "hi"}]},
    {"type": "text", "text": "hi"},
    PICTURE,
]
STORED = {"type": "image", "uri": "files/lines"}
SETTINGS = {
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 7,
    "max_output_tokens": 5,
    "stop_sequences": ["z"],
    "thinking_level": "LOW",
    "image_config": {"aspect_ratio": "1:1", "image_size": "1K"},
}
IMAGE = {"type": "image", "aspect_ratio": "1:1", "image_size": "1K"}
CHOICE = {"allowed_tools": {"mode": "ANY", "tools": ["f"]}}
TALK = [
    {"role": "system", "content": "s"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "refusal", "refusal": "no"},
            {"type": "image_url", "image_url": {"url": URI}},
            {"type": "video_url", "video_url": {"url": URI.replace("image/png", "video/mp4")}},
            {"type": "input_audio", "input_audio": {"format": "wav", "data": DATA}},
            {"type": "file", "file": {"file_data": URI}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "2", "name": "f", "content": "3"},
]
SAMPLED = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.5,
    "seed": 7,
    "n": 2,
    "stop": "z",
    "max_tokens": 5,
    "logprobs": True,
    "top_logprobs": 2,
    "modalities": ["text"],
}
ASKED = {"contents": HI}
LIKELY = {"responseLogprobs": True, "logprobs": 2, "candidateCount": 2}
CALLED = {"tools": [{"functionDeclarations": [FUNCTION | {"parameters": {"type": "OBJECT"}}]}]}
DRAWN = {"responseModalities": ["TEXT", "IMAGE"]}
INLINE = {"requests": {"requests": [{"request": ASKED, "metadata": {"n": 1}}]}}
BATCH = {"displayName": "b", "priority": 1, "inputConfig": INLINE}
CACHE = {"model": NAME, "contents": HI, "displayName": "c", "systemInstruction": HI[0], **CALLED}
CACHE |= {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}
FILE = {"name": "files/a", "displayName": "f", "mimeType": "text/plain", "sizeBytes": "0"}
CHAT = {"model": NAME, "messages": TALK}
STEP: Body = {"model": NAME, "input": "hi"}
FORM = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}

BODIES: list[tuple[str, Body]] = [
    ("generateContent", ASKED),
    ("generateContent", ASKED | {"generationConfig": LIKELY}),
    ("generateContent", ASKED | {"generationConfig": DRAWN}),
    ("generateContent", ASKED | CALLED),
    ("generateContentTuned", ASKED),
    ("streamGenerateContent", ASKED),
    ("streamGenerateContent", ASKED | {"generationConfig": LIKELY}),
    ("streamGenerateContentTuned", ASKED | CALLED),
    ("countTokens", ASKED),
    ("countTokens", {"generateContentRequest": ASKED}),
    ("countTokensTuned", ASKED),
    ("embedContent", {"content": HI[0], "outputDimensionality": 2}),
    ("embedContentTuned", {"content": HI[0]}),
    ("batchEmbedContents", {"requests": [{"content": HI[0]}]}),
    ("batchEmbedContentsTuned", {"requests": [{"content": HI[0]}]}),
    ("batchGenerateContent", {"batch": BATCH}),
    ("batchGenerateContent", {"batch": BATCH | {"inputConfig": {"fileName": "files/lines"}}}),
    ("batchGenerateContentTuned", {"batch": BATCH}),
    ("uploadFile", {"file": FILE}),
    ("uploadFilePart", {"file": FILE | {"name": "files/b"}}),
    ("createCachedContent", CACHE | {"ttl": "9s"}),
    ("createCachedContent", CACHE | {"expireTime": "2999-01-01T00:00:00Z"}),
    ("updateCachedContent", {"ttl": "9s"}),
    ("updateCachedContent", {"expireTime": "2999-01-01T00:00:00Z"}),
    ("createChatCompletion", CHAT),
    ("createChatCompletion", CHAT | SAMPLED),
    ("createChatCompletion", CHAT | {"response_format": FORM}),
    ("createChatCompletion", CHAT | {"tools": [TOOL], "tool_choice": TOOL}),
    ("createChatCompletion", CHAT | {"tools": [TOOL], "parallel_tool_calls": False}),
    ("createChatCompletion", CHAT | {"max_completion_tokens": 5, "modalities": ["image"]}),
    ("createChatCompletion", CHAT | {"stream": True, "stream_options": {"include_usage": True}}),
    ("createChatCompletion", CHAT | {"stream": True, "logprobs": True, "tools": [TOOL]}),
    ("createEmbedding", {"model": NAME, "input": ["a", "b"], "dimensions": 2}),
    ("createEmbedding", {"model": NAME, "input": "a", "encoding_format": "base64"}),
    ("createInteraction", STEP | {"input": STEPS, "generation_config": SETTINGS}),
    ("createInteraction", STEP | {"input": [STORED, {"type": "user_input", "content": [STORED]}]}),
    ("createInteraction", STEP | {"system_instruction": "s", "stream": True}),
    ("createInteraction", STEP | {"response_format": IMAGE, "stream": True}),
    ("createInteraction", STEP | {"response_format": [IMAGE], "response_modalities": ["text"]}),
    (
        "createInteraction",
        STEP | {"response_format": {"type": "text", "schema": {}, "mime_type": "application/json"}},
    ),
    ("createInteraction", STEP | {"response_mime_type": "text/plain", "store": False}),
    (
        "createInteraction",
        STEP
        | {
            "tools": [{"type": "function", **FUNCTION}],
            "generation_config": {"tool_choice": CHOICE},
        },
    ),
    (
        "createInteraction",
        STEP | {"tools": [{"type": "function", **FUNCTION}], "stream": True},
    ),
    ("rate", {"rating": "up"}),
]
