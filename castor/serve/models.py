"""The loaded model as both APIs describe one: a single object with the fields of both."""

from collections.abc import Mapping
from typing import Any

from castor.serve.fields import whole
from castor.serve.service import Desk, Settings

CREATED = 1_700_000_000  # OpenAI's clients want a time; a model's is not kept


def described(desk: Desk, settings: Settings) -> dict[str, Any]:
    """The model's limits, defaults and methods."""
    silent = settings.prompts is not None
    methods = ["countTokens"]
    if not silent:
        methods = ["generateContent", "streamGenerateContent", *methods]
        methods += ["batchGenerateContent", "bidiGenerateContent"]
    methods += ["embedContent", "batchEmbedContents"] if desk.embeds else []
    methods += ["createCachedContent"] if settings.cached is not None and not silent else []
    perceives = " and ".join(["text", *sorted(desk.kinds)])
    speaks = "text and pictures" if desk.draws else "embeddings" if silent else "text"
    return {
        "name": f"models/{desk.name}",
        "version": "1",
        "displayName": desk.name.replace("-", " ").title(),
        "description": f"Reads {perceives}; replies with {speaks}.",
        "inputTokenLimit": desk.context,
        "outputTokenLimit": desk.context,
        "supportedGenerationMethods": methods,
        "temperature": settings.temperature,
        "maxTemperature": 2.0,
        "topP": settings.top_p,
        "topK": settings.top_k,
        "thinking": False,
        "id": desk.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "castor",
    }


def listing(desk: Desk, *, query: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """All models: the loaded one. There is never a second page.

    Raises:
        ValueError: `pageSize` is no number, or `pageToken` none that was given out.
    """
    whole({"pageSize": query.get("pageSize") or None}, "pageSize", at="", low=0, high=2**31)
    if query.get("pageToken"):
        raise ValueError(f"pageToken {query['pageToken']!r} is not one that this server gave")
    told = described(desk, settings)
    return {"object": "list", "data": [told], "models": [told]}
