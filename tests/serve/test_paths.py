"""Every way in which clients write a path or a model's name comes to one."""

import pytest

from castor.serve.paths import model_of, place_of, serves, style_of, wants_sse

GENERATE = "/models/x:generateContent"


@pytest.mark.parametrize(
    ("written", "path", "version"),
    [
        ("/v1/models/x:generateContent", GENERATE, "v1"),
        ("/v1beta/models/x:generateContent", GENERATE, "v1beta"),
        ("/v1alpha/models/x:generateContent", GENERATE, "v1alpha"),
        ("//v1beta///models/x:generateContent", GENERATE, "v1beta"),
        ("/models/x:generateContent", GENERATE, "v1beta"),
        ("/v1beta/v1beta/models/x:generateContent", GENERATE, "v1beta"),
        ("/v1beta/v1/models/x:generateContent", GENERATE, "v1"),
        ("/gemini/v1/models/x:generateContent", GENERATE, "v1"),
        ("/v1/models/", "/models", "v1"),
        ("/v1beta/models/a/b-c_d.1:countTokens", "/models/a/b-c_d.1:countTokens", "v1beta"),
        ("/upload/v1beta/files", "/upload/files", "v1beta"),
        ("/v1/upload/v1beta/files", "/upload/files", "v1beta"),
        ("/v1/chat/completions", "/openai/chat/completions", "v1"),
        ("/v1beta/openai/chat/completions", "/openai/chat/completions", "v1beta"),
        ("/v1beta/openai/v1/embeddings", "/openai/embeddings", "v1"),
        ("/chat/completions", "/openai/chat/completions", "v1beta"),
        ("////ws/google.ai.X.BidiGenerateContent", "/ws/google.ai.X.BidiGenerateContent", "v1beta"),
        ("/health", "/health", "v1beta"),
        ("/", "/", "v1beta"),
        ("/gemini", "/gemini", "v1beta"),
    ],
)
def test_a_path_has_one_spelling(written: str, path: str, version: str) -> None:
    assert place_of(written)[:2] == (path, version)


def test_only_paths_of_the_api_ask_for_a_key() -> None:
    api = ("/v1/models", "/models", "/upload/v1/files", "/openai/models", "/metrics", "/ws/x")
    assert all(place_of(path).api for path in api)
    assert not any(place_of(path).api for path in ("/", "/health", "/style/page.css", "/theme.js"))


def test_a_model_has_three_forms_of_name() -> None:
    assert {model_of(name) for name in ("x", "models/x", "tunedModels/x")} == {"x"}


@pytest.mark.parametrize(
    "name", ["gemini-3.1-pro-preview", "models/gemini-2.5-flash", "gemma3-1b-gpu-custom", "mine"]
)
def test_names_that_clients_have_built_in_mean_the_loaded_model(name: str) -> None:
    assert serves(name, loaded="mine", strict=False)
    assert serves(name, loaded="mine", strict=True) == (name == "mine")


@pytest.mark.parametrize("name", ["nope", "gpt-4o", "geminiate", "mine2", ""])
def test_other_names_mean_nothing(name: str) -> None:
    assert not serves(name, loaded="mine", strict=False)


@pytest.mark.parametrize(
    ("path", "headers", "query", "style"),
    [
        ("/v1/files", {b"authorization": b"Bearer x"}, b"", "openai"),
        ("/v1/batches/b", {b"authorization": b"Bearer x"}, b"", "openai"),
        ("/v1/files", {b"authorization": b"Bearer x", b"x-goog-api-client": b"y"}, b"", "gemini"),
        ("/v1/files", {b"authorization": b"Bearer x"}, b"key=1", "gemini"),
        ("/v1/files", {b"x-goog-api-key": b"x"}, b"", "gemini"),
        ("/v1/chat/completions", {}, b"", "openai"),
        ("/v1/models/x:streamGenerateContent", {}, b"", "array"),
        ("/v1/models/x:streamGenerateContent", {}, b"alt=sse", "gemini"),
        ("/v1/models/x:generateContent", {}, b"", "gemini"),
    ],
)
def test_errors_have_the_form_that_the_caller_reads(
    path: str, headers: dict[bytes, bytes], query: bytes, style: str
) -> None:
    assert style_of(place_of(path), query, headers.items()) == style


def test_events_are_asked_for_by_alt() -> None:
    assert wants_sse(b"alt=sse&key=1") and wants_sse(b"$alt=sse;enum-encoding=int")
    assert not wants_sse(b"") and not wants_sse(b"$alt=json;enum-encoding=int")
