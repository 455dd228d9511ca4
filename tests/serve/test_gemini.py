"""Counting, embedding and listing, as the Gemini API has them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Document, Media
from castor.serve.embedding import shortened

from .driver import GENERATE, HI, client_of, post, refused
from .fake_desk import FakeDesk, vector_of

COUNT = "/v1/models/castor-fake:countTokens"
EMBED = "/v1/models/castor-fake:embedContent"
BATCH = "/v1/models/castor-fake:batchEmbedContents"
TOOLS = {"tools": [{"functionDeclarations": [{"name": "f"}]}]}
PNG = {"inlineData": {"mimeType": "image/png", "data": "AAE"}}

parts = st.lists(st.sampled_from([{"text": "hi"}, {"text": "ö"}, PNG]), min_size=1, max_size=4)
besides = st.fixed_dictionaries(
    {}, optional={"systemInstruction": st.just("be brief"), "tools": st.just(TOOLS["tools"])}
)


@given(parts, besides)
def test_the_count_is_what_the_same_request_uses(held: list[Any], beside: dict[str, Any]) -> None:
    wire = {"contents": [{"parts": held}], **beside}
    client = client_of()
    usage = post(client, GENERATE, wire)["usageMetadata"]
    inner = {"generateContentRequest": {"model": "models/castor-fake", **wire}}
    for counted in (post(client, COUNT, inner), post(client, COUNT, wire)):
        assert counted["totalTokens"] == usage["promptTokenCount"]
        assert counted["promptTokensDetails"] == usage["promptTokensDetails"]
        assert counted["totalTokens"] == sum(
            each["tokenCount"] for each in counted["promptTokensDetails"]
        )


@pytest.mark.parametrize("within", [False, True])
def test_the_tokens_of_a_cache_are_counted_apart(within: bool) -> None:
    held = {"contents": [{"parts": [{"text": "long"}]}], "systemInstruction": "be brief"}
    client = client_of(cached=lambda name, model: held)
    wire: dict[str, Any] = HI | {"cached_content": "cachedContents/abc"}
    counted = post(client, COUNT, {"generate_content_request": wire} if within else wire)
    assert counted["totalTokens"] == len("be brief" + "long" + "hi")
    assert counted["cachedContentTokenCount"] == len("be brief" + "long")
    assert "cachedContentTokenCount" not in post(client, COUNT, HI)


def test_more_than_the_context_can_be_counted() -> None:
    wire = {"contents": {"parts": {"text": "x" * 5000}}}
    assert post(client_of(), COUNT, wire)["totalTokens"] == 5000


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({}, "contents is not specified"),
        ({"generateContentRequest": {}}, "contents is not specified"),
        (HI | {"generateContentRequest": HI}, "Give contents or generateContentRequest, not both."),
        ({"generateContentRequest": [1]}, "generateContentRequest': an object is needed"),
    ],
)
def test_what_cannot_be_counted_is_refused(wire: Any, message: str) -> None:
    assert message in refused(client_of(), COUNT, wire)


def test_a_text_is_a_vector() -> None:
    desk = FakeDesk()
    told = post(client_of(desk), EMBED, {"content": {"parts": [{"text": "abc"}]}})
    assert told["usageMetadata"]["promptTokenCount"] == 3
    expected = vector_of(Document.of("abc"))
    np.testing.assert_allclose(told["embedding"]["values"], expected, rtol=1e-6)


def test_media_and_texts_are_one_vector_in_their_order() -> None:
    desk = FakeDesk()
    post(client_of(desk), EMBED, {"content": {"parts": [PNG, {"text": "a"}]}, "title": "t"})
    assert desk.documents == [Document.of(Media("image/png", b"\0\1"), "a")]


def test_a_batch_keeps_its_order_and_its_own_sizes() -> None:
    requests = [
        {"model": "models/castor-fake", "content": {"parts": {"text": "a" * n}}, "taskType": "X"}
        for n in (1, 2, 3)
    ]
    requests[1] |= {"output_dimensionality": 2}
    told = post(client_of(), BATCH, {"requests": requests})
    assert [len(each["values"]) for each in told["embeddings"]] == [4, 2, 4]
    for n, each in enumerate(told["embeddings"], start=1):
        expected = shortened(vector_of(Document.of("a" * n)), len(each["values"]))
        np.testing.assert_allclose(each["values"], expected, rtol=1e-6)
    assert told["usageMetadata"]["promptTokenCount"] == 6


def test_many_texts_are_handed_to_the_engine_a_few_at_a_time() -> None:
    desk = FakeDesk()
    requests = [{"content": {"parts": {"text": "a" * n}}} for n in range(1, 101)]
    told = post(client_of(desk), BATCH, {"requests": requests})
    assert desk.batches == [32, 32, 32, 4]
    assert len(told["embeddings"]) == 100 and told["usageMetadata"]["promptTokenCount"] == 5050


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9), st.integers(1, 12))
def test_fewer_dimensions_are_the_first_ones_and_a_unit_vector(
    values: list[float], size: int
) -> None:
    vector = np.array(values, np.float32)
    kept = shortened(vector, size)
    assert len(kept) == min(size, len(values))
    length = float(np.linalg.norm(vector[:size]))
    if length > 1e-6:
        np.testing.assert_allclose(kept * length, vector[:size], atol=1e-5)


@pytest.mark.parametrize(
    ("path", "wire", "message"),
    [
        (EMBED, {}, "* EmbedContentRequest.content: content is not specified"),
        (EMBED, {"content": {"parts": []}}, "contents.parts must not be empty"),
        (EMBED, {"content": "a", "outputDimensionality": 0}, "outputDimensionality: 0 is outside"),
        (BATCH, {}, "at most 100 requests can be in one batch, and at least one; got 0"),
        (BATCH, {"requests": [{"content": "a"}] * 101}, "got 101"),
        (BATCH, {"requests": ["a"]}, "requests[0]': an object is needed"),
    ],
)
def test_what_cannot_be_embedded_is_refused(path: str, wire: Any, message: str) -> None:
    assert message in refused(client_of(), path, wire)


def test_another_model_within_a_batch_is_refused() -> None:
    wire = {"requests": [{"model": "models/other", "content": "a"}]}
    message = refused(client_of(), BATCH, wire, 404)
    assert message.startswith("models/other is not found for API version v1, or is not supported")


def test_a_model_that_does_not_embed_says_so() -> None:
    message = refused(client_of(FakeDesk(embeds=False)), EMBED, {"content": "a"}, 404)
    assert message == (
        "models/castor-fake is not found for API version v1, or is not supported for "
        "embedContent. Call ListModels to see the list of available models and their supported "
        "methods."
    )


def test_models_are_listed_for_both_apis_in_one_body() -> None:
    told = client_of().get("/v1/models?pageSize=50").json()
    assert told["object"] == "list" and told["models"] == told["data"]
    (model,) = told["models"]
    assert model["name"] == "models/castor-fake" and model["id"] == "castor-fake"
    assert model["inputTokenLimit"] == 1000 and model["object"] == "model"
    assert "generateContent" in model["supportedGenerationMethods"]
    assert "embedContent" in model["supportedGenerationMethods"]
    assert client_of().get("/v1beta/openai/models").json() == told


@pytest.mark.parametrize("name", ["castor-fake", "models/castor-fake", "gemini-2.5-flash"])
def test_a_model_tells_its_own_name(name: str) -> None:
    told = client_of().get(f"/v1beta/models/{name}").json()
    assert told["name"] == "models/castor-fake"


def test_a_name_with_an_encoded_slash_is_one_name() -> None:
    path = "/v1beta/models%2Fcastor-fake:countTokens"
    assert post(client_of(), path, HI)["totalTokens"] == 2


def test_a_model_that_only_talks_says_so() -> None:
    desk = FakeDesk(embeds=False, draws=False, kinds=frozenset())
    told = client_of(desk).get("/v1/models/castor-fake").json()
    assert told["description"] == "Reads text; replies with text."
    assert not [m for m in told["supportedGenerationMethods"] if m.startswith("embed")]
    assert "createCachedContent" not in told["supportedGenerationMethods"]
    cached = client_of(desk, cached=lambda name, model: {}).get("/v1/models/castor-fake").json()
    assert "createCachedContent" in cached["supportedGenerationMethods"]


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v1/models/nope", 404, "models/nope is not found for API version v1. Call ListModels"),
        ("/v1/models?pageSize=x", 400, "'pageSize': a whole number is needed, not 'x'"),
        ("/v1/models?pageSize=-1", 400, "pageSize: -1 is outside the range"),
        ("/v1/models?pageToken=x", 400, "pageToken 'x' is not one that this server gave"),
    ],
)
def test_lists_and_names_that_are_not_there_are_refused(path: str, code: int, message: str) -> None:
    response = client_of().get(path)
    assert response.status_code == code
    assert message in response.json()["error"]["message"]
