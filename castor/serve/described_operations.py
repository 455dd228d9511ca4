"""What each method of each path does: its summary, what it reads and what it says."""

from typing import NamedTuple

from castor.serve.described_requests import FLAG, TEXT, WHOLE, Schema, among, many, message, ref

JSON, EVENTS, BYTES = "application/json", "text/event-stream", "application/octet-stream"
ANSWERED = "500 503 504"  # errors of the engine
DONE = "[DONE]"

Fields = dict[str, Schema]
NONE: Fields = {}
PAGE: Fields = {"pageSize": WHOLE | {"minimum": 0, "maximum": 999_999_999}, "pageToken": TEXT}
ALT: Fields = {"alt": among(["sse", "json"])}
DEADLINE: Fields = {"x-server-timeout": {"type": "number", "exclusiveMinimum": 0}}
UPLOAD: Fields = {
    "x-goog-upload-protocol": among(["resumable", "multipart", "raw"]),
    "x-goog-upload-command": among(
        ["start", "upload", "upload, finalize", "finalize", "query", "cancel"]
    ),
    "x-goog-upload-offset": WHOLE | {"minimum": 0, "maximum": 10**18 - 1},
    "x-goog-upload-header-content-length": WHOLE | {"minimum": 0, "maximum": 10**18 - 1},
    "x-goog-upload-header-content-type": TEXT,
    "x-goog-upload-file-name": TEXT,
}


class Operation(NamedTuple):
    """What one method of a path does."""

    id: str
    told: str
    asks: Fields = NONE  # the body, by its media types
    says: Fields = NONE  # the reply, by its media types
    query: Fields = NONE
    headers: Fields = NONE
    codes: str = "400 403"  # of the errors
    others: dict[str, str] = {}  # what is said with some codes instead of an error
    form: str = ""  # of the errors: that of openai, interactions, an array, or the Gemini API's


def _json(name: str) -> Fields:
    return {JSON: ref(name)}


def _event(piece: str, error: str, *ends: str) -> Schema:
    """One event of a stream: its line `data:` is JSON, or one of the ends."""
    held = {"anyOf": [ref(piece), ref(error)]}
    data = TEXT | {"contentMediaType": JSON, "contentSchema": held}
    return message({"data": {"anyOf": [data, *({"const": end} for end in ends)]}})


def _models() -> dict[str, Operation]:
    whole, request = "GenerateContentResponse", _json("GenerateContentRequest")
    array = many({"anyOf": [ref(whole), ref("Error")]})
    embed = f"400 403 404 {ANSWERED}"
    found = {
        "generateContent": Operation(
            "generateContent", "One reply, whole.", request, _json(whole), headers=DEADLINE
        ),
        "streamGenerateContent": Operation(
            "streamGenerateContent",
            "The same in pieces: `alt=sse` as events, each with a GenerateContentResponse; "
            "otherwise as one array.",
            request,
            {JSON: array, EVENTS: _event(whole, "Error")},
            query=ALT,
            headers=DEADLINE,
            form="array",
        ),
        "countTokens": Operation(
            "countTokens",
            "Tokens of the prompt.",
            _json("CountTokensRequest"),
            _json("CountTokensResponse"),
        ),
        "embedContent": Operation(
            "embedContent",
            "A vector.",
            _json("EmbedContentRequest"),
            _json("EmbedContentResponse"),
        ),
        "batchEmbedContents": Operation(
            "batchEmbedContents",
            "A vector for each of up to 100 requests.",
            _json("BatchEmbedContentsRequest"),
            _json("BatchEmbedContentsResponse"),
        ),
        "batchGenerateContent": Operation(
            "batchGenerateContent",
            "Take in many requests, to be answered later.",
            _json("NewBatch"),
            _json("Operation"),
        ),
    }
    return {
        f"POST /models/{{model}}:{name}": told._replace(codes=embed) for name, told in found.items()
    } | {
        "GET /models": Operation("listModels", "The models.", says=_json("Models"), query=PAGE),
        "GET /models/{model}": Operation(
            "getModel", "One model.", says=_json("Model"), codes="403 404"
        ),
    }


def _kept() -> dict[str, Operation]:
    gone, stored = "400 403", "400 403 503"
    uploaded = Operation(
        "uploadFile",
        "Begin an upload, go on with it, or send a file in one request. The reply names the "
        "address to go on at; a whole file is told as JSON.",
        {JSON: ref("NewFile"), BYTES: {}, "multipart/related": {}},
        _json("UploadedFile") | {"text/plain": TEXT},
        query={"upload_id": TEXT, "uploadType": among(["multipart", "media"])},
        headers=UPLOAD,
        codes="400 403 404 409 429 503",
    )
    files, caches = "/files", "/cachedContents"
    return {
        "POST /upload/files": uploaded,
        "PUT /upload/files": uploaded._replace(id="uploadFilePart"),
        f"GET {files}": Operation("listFiles", "Newest first.", says=_json("Files"), query=PAGE),
        f"GET {files}/{{id}}": Operation("getFile", "One file.", says=_json("File"), codes=gone),
        f"DELETE {files}/{{id}}": Operation("deleteFile", "Forget one.", says=_json("Nothing")),
        f"GET {files}/{{id}}:download": Operation(
            "downloadFile",
            "The bytes of a file that the server wrote.",
            says={"*/*": {}},
            query={"alt": among(["media"])},
        ),
        f"POST {caches}": Operation(
            "createCachedContent",
            "Keep the beginning of a prompt.",
            _json("NewCachedContent"),
            _json("CachedContent"),
            codes=f"404 {stored}",
        ),
        f"GET {caches}": Operation(
            "listCachedContents", "Newest first.", says=_json("CachedContents"), query=PAGE
        ),
        f"GET {caches}/{{id}}": Operation(
            "getCachedContent", "One of them.", says=_json("CachedContent"), codes=gone
        ),
        f"PATCH {caches}/{{id}}": Operation(
            "updateCachedContent",
            "Let it expire at another time.",
            _json("CachedContentUpdate"),
            _json("CachedContent"),
            codes=stored,
        ),
        f"DELETE {caches}/{{id}}": Operation(
            "deleteCachedContent", "Forget one.", says=_json("Nothing")
        ),
        **_batches(),
    }


def _batches() -> dict[str, Operation]:
    codes = "403 404"
    return {
        "GET /batches": Operation(
            "listBatches", "Newest first.", says=_json("Operations"), query=PAGE
        ),
        "GET /batches/{id}": Operation(
            "getBatch", "How far it is, and its answers.", says=_json("Operation"), codes=codes
        ),
        "POST /batches/{id}:cancel": Operation(
            "cancelBatch", "Give it up.", says=_json("Nothing"), codes=codes
        ),
        "DELETE /batches/{id}": Operation(
            "deleteBatch", "Forget it.", says=_json("Nothing"), codes=codes
        ),
    }


def _openai() -> dict[str, Operation]:
    codes, form = f"400 401 403 404 {ANSWERED}", "openai"
    found = {
        "POST /openai/chat/completions": Operation(
            "createChatCompletion",
            "One reply; with `stream` as events, each with a ChatCompletionChunk, and `[DONE]`.",
            _json("ChatCompletionRequest"),
            {
                JSON: ref("ChatCompletion"),
                EVENTS: _event("ChatCompletionChunk", "OpenAIError", DONE),
            },
            headers=DEADLINE,
        ),
        "POST /openai/embeddings": Operation(
            "createEmbedding",
            "A vector for each input.",
            _json("EmbeddingRequest"),
            _json("Embeddings"),
        ),
        "GET /openai/models": Operation(
            "listOpenAIModels", "The models.", says=_json("Models"), query=PAGE
        ),
        "GET /openai/models/{model}": Operation(
            "getOpenAIModel", "One model.", says=_json("Model")
        ),
    }
    return {key: told._replace(codes=codes, form=form) for key, told in found.items()}


def _interactions() -> dict[str, Operation]:
    codes, form = "400 403 404", "interactions"
    one = "/interactions/{id}"
    found = {
        "POST /interactions": Operation(
            "createInteraction",
            "The next step of a talk that the server remembers; with `stream` as events, each "
            "with an InteractionEvent, and `[DONE]`.",
            _json("NewInteraction"),
            {
                JSON: ref("Interaction"),
                EVENTS: _event("InteractionEvent", "InteractionError", DONE),
            },
            headers=DEADLINE,
            codes=f"{codes} {ANSWERED}",
        ),
        f"GET {one}": Operation(
            "getInteraction",
            "One of them.",
            says=_json("Interaction"),
            query={"stream": FLAG, "include_input": FLAG},
            codes=codes,
        ),
        f"DELETE {one}": Operation(
            "deleteInteraction", "Forget one.", says=_json("Nothing"), codes=codes
        ),
        f"POST {one}/cancel": Operation(
            "cancelInteraction", "Always refused: none runs in the background.", codes=codes
        ),
    }
    return {key: told._replace(form=form) for key, told in found.items()}


def _server() -> dict[str, Operation]:
    return {
        "GET /health": Operation(
            "health",
            "That the server is there; 503 while it warms up.",
            says=_json("Health"),
            codes="403 503",
            others={"503": "Health"},
        ),
        "GET /metrics": Operation(
            "metrics", "Counts for Prometheus.", says={"text/plain": TEXT}, codes="400 403"
        ),
        "GET /openapi.json": Operation(
            "describe", "This description.", says=_json("Description"), codes="403"
        ),
        "POST /feedback": Operation(
            "rate", "Keep what somebody thinks of a reply.", _json("Rating"), _json("Nothing")
        ),
    }


OPERATIONS = {**_models(), **_kept(), **_openai(), **_interactions(), **_server()}
