"""What the server says, as JSON Schemas by the messages' names."""

from castor.serve.described_requests import (
    ANY,
    BASE64,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    TIME,
    WHOLE,
    Schema,
    among,
    each,
    many,
    message,
    ref,
)
from castor.serve.refusal import NAMES
from castor.serve.reply import FINISH

COUNT: Schema = TEXT | {"pattern": "^[0-9]+$"}  # int64 is text in JSON
USED = each("promptTokenCount totalTokenCount", WHOLE)
CHARACTERS = message({"type": among(["text"]), "text": TEXT})


def null_or(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def gemini() -> dict[str, Schema]:
    """Replies of the Gemini API's methods of models."""
    likely = message({"token": TEXT, "tokenId": WHOLE, "logProbability": NUMBER})
    counts = many(message({"modality": TEXT, "tokenCount": WHOLE}))
    blob = message({"mimeType": TEXT, "data": BASE64})
    call = message({"name": TEXT, "id": TEXT, "args": OBJECT})
    said = message({}, {"text": TEXT, "inlineData": blob, "functionCall": call})
    said |= {"minProperties": 1, "maxProperties": 1}
    vector = message({"values": many(NUMBER)})
    used = message(
        USED | {"candidatesTokenCount": WHOLE, "promptTokensDetails": counts},
        {"cachedContentTokenCount": WHOLE},
    )
    logprobs = message(
        {"chosenCandidates": many(likely), "logProbabilitySum": NUMBER},
        {"topCandidates": many(message({"candidates": many(likely)}))},
    )
    candidate = message(
        {"content": message({"parts": many(said), "role": TEXT}), "index": WHOLE},
        {"finishReason": among(list(FINISH.values())), "avgLogprobs": NUMBER},
        {"logprobsResult": logprobs},
    )
    return {
        "GenerateContentResponse": message(
            {"candidates": many(candidate), "usageMetadata": used},
            {"modelVersion": TEXT, "responseId": TEXT, "queue": message({"position": WHOLE})},
        ),
        "CountTokensResponse": message(
            {"totalTokens": WHOLE, "promptTokensDetails": counts},
            {"cachedContentTokenCount": WHOLE},
        ),
        "EmbedContentResponse": message({"embedding": vector, "usageMetadata": message(USED)}),
        "BatchEmbedContentsResponse": message(
            {"embeddings": many(vector), "usageMetadata": message(USED)}
        ),
        "Model": _model(),
        "Models": message(
            {"object": TEXT, "models": many(ref("Model")), "data": many(ref("Model"))}
        ),
    }


def _model() -> Schema:
    return message(
        each("name version displayName description id object owned_by", TEXT)
        | each("inputTokenLimit outputTokenLimit topK created", WHOLE)
        | each("temperature maxTemperature topP", NUMBER)
        | {"supportedGenerationMethods": many(TEXT), "thinking": FLAG},
    )


def kept() -> dict[str, Schema]:
    """Replies about what is kept, and about the server."""
    times = each("createTime updateTime", TIME)
    file = message(
        each("name mimeType sha256Hash uri state source", TEXT)
        | times
        | {"expirationTime": TIME, "sizeBytes": COUNT},
        {"displayName": TEXT, "downloadUri": TEXT},
    )
    cache = message(
        {"name": TEXT, "model": TEXT, "expireTime": TIME, **times},
        {"displayName": TEXT, "usageMetadata": message({"totalTokenCount": WHOLE})},
    )
    page: dict[str, Schema] = {"nextPageToken": TEXT}
    failure = message({"code": WHOLE, "message": TEXT})
    stats = "requestCount successfulRequestCount failedRequestCount pendingRequestCount"
    metadata = message(
        each("@type model displayName state name", TEXT) | times,
        {"inputConfig": message({"fileName": TEXT}), "endTime": TIME, "priority": TEXT},
        {"output": OBJECT, "batchStats": message({}, each(stats, COUNT))},
    )
    return {
        "File": file,
        "Files": message({}, {"files": many(ref("File"))}, page),
        "UploadedFile": message({"file": ref("File")}),
        "CachedContent": cache,
        "CachedContents": message({}, {"cachedContents": many(ref("CachedContent"))}, page),
        "Operation": message(
            {"name": TEXT, "metadata": metadata},
            {"done": FLAG, "response": OBJECT, "error": failure},
        ),
        "Operations": message({}, {"operations": many(ref("Operation"))}, page),
        "Nothing": message({}),
        "Health": message({"status": TEXT, "model": TEXT, "queue": WHOLE}, {"compiled": NUMBER}),
        "Description": OBJECT,
    }


def openai() -> dict[str, Schema]:
    """Replies of OpenAI's API."""
    frame: dict[str, Schema] = {"id": TEXT, "object": TEXT, "created": WHOLE, "model": TEXT}
    cached = message({"cached_tokens": WHOLE})
    both = each("prompt_tokens total_tokens", WHOLE)
    used = message(both | {"completion_tokens": WHOLE, "prompt_tokens_details": cached})
    likely = {"token": TEXT, "logprob": NUMBER, "bytes": many(WHOLE)}
    token = message(likely | {"top_logprobs": many(message(likely))})
    finish = among(["stop", "length", "tool_calls"])
    beside: dict[str, Schema] = {
        "index": WHOLE,
        "logprobs": null_or(message({"content": many(token), "refusal": {"type": "null"}})),
    }
    picture = message({"type": TEXT, "image_url": message({"url": TEXT})})
    function = message({"name": TEXT, "arguments": TEXT})
    call = {"id": TEXT, "type": TEXT, "function": function}
    said = message(
        {"role": TEXT, "content": null_or(TEXT), "refusal": {"type": "null"}},
        {"tool_calls": many(message(call)), "images": many(picture)},
    )
    delta = message({}, {"role": TEXT, "content": TEXT, "images": many(picture)})
    delta["properties"]["tool_calls"] = many(message({"index": WHOLE, **call}))
    whole = message(beside | {"message": said, "finish_reason": finish})
    piece = message(beside | {"delta": delta, "finish_reason": null_or(finish)})
    vector = {"anyOf": [many(NUMBER), BASE64]}
    embedding = message({"object": TEXT, "index": WHOLE, "embedding": vector})
    return {
        "ChatCompletion": message(frame | {"choices": many(whole), "usage": used}),
        "ChatCompletionChunk": message(frame | {"choices": many(piece)}, {"usage": null_or(used)}),
        "Embeddings": message(
            {"object": TEXT, "model": TEXT, "data": many(embedding), "usage": message(both)}
        ),
    }


def interactions() -> dict[str, Schema]:
    """Replies of the Interactions API."""
    medium = message({"type": TEXT, "mime_type": TEXT, "data": BASE64})
    content = {"anyOf": [CHARACTERS, medium]}
    called = {"type": among(["function_call"]), "id": TEXT, "name": TEXT, "arguments": OBJECT}
    output = {"type": among(["model_output"]), "content": many(content)}
    step = {"anyOf": [message(output), message(called)]}
    counts = ("input", "output", "thought", "cached")
    used = message(
        {f"total_{kind}_tokens": WHOLE for kind in counts}
        | {"input_tokens_by_modality": many(message({"modality": TEXT, "tokens": WHOLE}))}
        | {"total_tokens": WHOLE}
    )
    frame = each("id object model", TEXT) | each("created updated", TIME)
    frame["status"] = among(["in_progress", "completed", "incomplete", "requires_action"])
    arguments = message({"type": among(["arguments_delta"]), "arguments": TEXT})
    event: dict[str, Schema] = {"index": WHOLE, "interaction_id": TEXT, "status": TEXT}
    event |= {"step": step, "delta": {"anyOf": [CHARACTERS, medium, arguments]}, "error": OBJECT}
    return {
        "Interaction": message(
            frame, {"previous_interaction_id": TEXT, "steps": many(step), "usage": used}
        ),
        "InteractionEvent": message(
            {"event_type": TEXT}, {"interaction": ref("Interaction")}, event
        ),
    }


def errors() -> dict[str, Schema]:
    """Errors, in the three forms that callers read."""
    status = among(sorted({*NAMES.values(), "ABORTED"}))
    told: dict[str, Schema] = {"code": WHOLE, "message": TEXT, "status": status}
    open_ = message({"message": TEXT, "type": TEXT, "param": ANY, "code": null_or(TEXT)})
    return {
        "Error": message({"error": message(told, {"details": many(OBJECT)})}),
        "OpenAIError": message({"error": open_}),
        "InteractionError": message({"error": message({"code": TEXT, "message": TEXT})}),
    }
