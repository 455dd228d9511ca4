"""A folder that embeds, from `castor serve --model` to the vectors that its clients get."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from castor.checkpoint import write
from castor.cli import main
from castor.cli.answering import load_engine
from castor.interop.folder import open_model
from castor.interop.heads import load_heads
from castor.sample.embedding import EmbeddingDesk
from castor.sample.engine import Engine
from castor.serve.app import app
from castor.serve.service import Desk, Settings
from castor.tokens.vocab import Vocab
from tests.interop.folders import embedding
from tests.sample.embedders import embedding_of
from tests.serve.driver import HI, Client, post, refused

ONE, MANY, COUNT, SAY, STREAM = (
    f"/v1beta/models/tiny:{name}"
    for name in (
        *("embedContent", "batchEmbedContents", "countTokens"),
        *("generateContent", "streamGenerateContent"),
    )
)
SILENT = "this model embeds texts and generates none"
FOX = {"content": {"parts": [{"text": "the fox"}]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocab: Vocab) -> Path:
    return embedding(tmp_path_factory.mktemp("models") / "tiny", vocab)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return load_engine(folder)[1]


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of what `castor serve` puts on a port, with all compiled before."""
    close, held = EmbeddingDesk.close, []

    def keep(desk: Desk, settings: Settings, _: Any, *, at: socket.socket, **more: Any) -> None:
        at.close()
        held.append((desk, settings))

    given = ["--port", "0", "--warmup", "--data-dir", str(tmp_path_factory.mktemp("data"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("castor.serve.run.serve", keep)
        patch.setattr(EmbeddingDesk, "close", lambda desk: None)
        assert main(["serve", "--model", str(folder), *given]) == 0
    [(desk, settings)] = held
    yield Client(app(desk, settings))
    close(desk)


def vector(told: Any) -> np.ndarray:
    return np.array(told["embedding"]["values"], np.float32)


def near(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_folder_opens_with_its_heads_and_prompts(folder: Path) -> None:
    found, stored = open_model(folder).embedder, load_heads(folder)
    assert found is not None and stored is not None and found.prompts == stored.prompts
    jax.tree.map(np.testing.assert_array_equal, found.heads, stored.heads)


@pytest.mark.parametrize(("asked", "said"), [
    ({}, "the fox"),
    ({"taskType": "TASK_TYPE_UNSPECIFIED"}, "the fox"),
    ({"taskType": "RETRIEVAL_QUERY"}, "task: search result | query: the fox"),
    ({"task_type": "retrieval_query"}, "task: search result | query: the fox"),
    ({"embedContentConfig": {"taskType": 1}}, "task: search result | query: the fox"),
    ({"taskType": "RETRIEVAL_DOCUMENT"}, "title: none | text: the fox"),
    ({"taskType": "RETRIEVAL_DOCUMENT", "title": "Foxes"}, "title: Foxes | text: the fox"),
    ({"taskType": "CLUSTERING"}, "task: clustering | query: the fox"),
    ({"taskType": "SEMANTIC_SIMILARITY"}, "task: sentence similarity | query: the fox"),
    ({"taskType": "CLASSIFICATION"}, "task: classification | query: the fox"),
    ({"taskType": "QUESTION_ANSWERING"}, "task: question answering | query: the fox"),
    ({"taskType": "FACT_VERIFICATION"}, "task: fact checking | query: the fox"),
    ({"taskType": "CODE_RETRIEVAL_QUERY"}, "task: code retrieval | query: the fox"),
])  # fmt: skip
def test_a_text_is_embedded_after_the_prompt_of_its_task(
    client: Client, engine: Engine, asked: dict[str, Any], said: str
) -> None:
    told = post(client, ONE, FOX | asked)
    near(vector(told), embedding_of(engine, said))
    assert told["usageMetadata"]["promptTokenCount"] == len(engine.vocab.encode(said)) + 2


def test_fewer_dimensions_are_the_first_at_length_one(client: Client, engine: Engine) -> None:
    whole = embedding_of(engine, "the fox")
    short = vector(post(client, ONE, FOX | {"outputDimensionality": 8}))
    near(short, whole[:8] / np.linalg.norm(whole[:8]))


def test_a_batch_keeps_its_order_and_each_task(client: Client, engine: Engine) -> None:
    texts = ["the fox", "seven one two", "naïve " * 9]
    tasks = ["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "CLUSTERING"]
    before = ["task: search result | query: ", "title: none | text: ", "task: clustering | query: "]
    requests = [
        {"model": "models/tiny", "content": {"parts": [{"text": text}]}, "taskType": task}
        for text, task in zip(texts, tasks, strict=True)
    ]
    told = post(client, MANY, {"requests": requests})
    for prompt, text, found in zip(before, texts, told["embeddings"], strict=True):
        near(np.array(found["values"], np.float32), embedding_of(engine, (prompt + text).strip()))


def test_openais_clients_get_texts_as_they_are(client: Client, engine: Engine) -> None:
    texts = ["the fox", "task: search result | query: seven"]
    told = post(client, "/v1/embeddings", {"model": "tiny", "input": texts})
    for text, each in zip(texts, told["data"], strict=True):
        near(np.array(each["embedding"], np.float32), embedding_of(engine, text))
    short = post(client, "/v1/embeddings", {"model": "tiny", "input": texts[0], "dimensions": 4})
    assert len(short["data"][0]["embedding"]) == 4


def test_what_is_counted_is_what_is_embedded(client: Client, engine: Engine) -> None:
    told = post(client, COUNT, {"contents": [{"parts": [{"text": "the fox"}]}]})
    assert told["totalTokens"] == len(engine.vocab.encode("the fox")) + 2


@pytest.mark.parametrize(("asked", "message"), [
    ({"taskType": "SEARCH"}, "'taskType': 'SEARCH' is not one of"),
    ({"title": "Foxes"}, "title: only taskType RETRIEVAL_DOCUMENT has one"),
    ({"content": {"parts": [{"text": "the fox " * 300}]}}, "exceeds the maximum number of tokens"),
])  # fmt: skip
def test_what_cannot_be_embedded_is_refused(
    client: Client, asked: dict[str, Any], message: str
) -> None:
    assert message in refused(client, ONE, FOX | asked)


def test_generating_is_refused_over_http(client: Client) -> None:
    assert SILENT in refused(client, SAY, HI)
    assert SILENT in refused(client, STREAM, HI)
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    response = client.post("/v1/chat/completions", json=asked)
    assert response.status_code == 400 and SILENT in response.json()["error"]["message"]


def test_the_model_tells_that_it_embeds(client: Client) -> None:
    told = client.get("/v1beta/models/tiny").json()
    assert told["supportedGenerationMethods"] == [
        "countTokens",
        "embedContent",
        "batchEmbedContents",
    ]
    assert told["description"] == "Reads text; replies with embeddings."


@pytest.mark.parametrize("verb", [["chat"], ["generate", "Hi"]])
def test_verbs_that_talk_refuse_in_a_sentence(
    folder: Path, verb: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main([*verb, "--model", str(folder)]) != 0
    assert SILENT in capsys.readouterr().err


def test_the_devices_runtime_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="tiny embeds texts, which --device does not"):
        load_engine(folder, device="cpu")


@pytest.mark.parametrize("format", ["hf", "gguf", "castor"])
def test_an_export_without_its_heads_is_refused(
    folder: Path, tmp_path: Path, format: str, capsys: Any
) -> None:
    out = tmp_path / "out.gguf"
    assert main(["export", str(folder), str(out), "--format", format]) != 0 and not out.exists()
    assert "tiny embeds texts; no format here keeps its heads" in capsys.readouterr().err


def test_a_checkpoint_has_no_place_for_heads(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keeps no heads of embeddings; use the folder as it is"):
        write(tmp_path / "ours", open_model(folder))
    assert not list(tmp_path.iterdir())
