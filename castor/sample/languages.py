"""The languages that a server's requests may ask replies to be in, by the names of their kinds."""

import json
from functools import lru_cache
from typing import Any

from castor.sample.ask import Constraint
from castor.sample.constrain import calls, choices, json_schema, json_value
from castor.sample.constrain_openapi import from_openapi
from castor.tokens.vocab import Vocab

KINDS = ("json", "schema", "openapi", "enum", "calls")


def language(kind: str, spec: Any, *, vocab: Vocab) -> Constraint:
    """One language, made once for as many requests as ask for it.

    "json" (any), "schema" (a JSON Schema), "openapi" (the Gemini API's subset of OpenAPI), "enum"
    (texts), "calls" (schemas by the functions' names, and a mode of `constrain.MODES`).

    Raises:
        ValueError: the kind is unknown, or the specification cannot be kept to.
    """
    if kind not in KINDS:
        raise ValueError(f"a language is one of {KINDS}; got {kind!r}")
    return _made(kind, json.dumps(spec), vocab)


@lru_cache(maxsize=64)
def _made(kind: str, spec: str, vocab: Vocab) -> Constraint:
    given = json.loads(spec)
    if kind == "json":
        return json_value(vocab)
    if kind == "schema":
        return json_schema(given, vocab=vocab)
    if kind == "openapi":
        return json_schema(from_openapi(given), vocab=vocab, path="responseSchema")
    if kind == "enum":
        return choices(given, vocab=vocab)
    functions, mode = given
    return calls(functions, vocab=vocab, mode=mode)
