"""The engine over onnxruntime answers as the one of JAX does."""

from dataclasses import replace
from pathlib import Path

import pytest

from castor.core.content import Document, Turn
from castor.device.engine import DeviceEngine
from castor.device.stored import keep
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.tokens.learn import learn

GREEDY = Sampling(max_tokens=24)
HOT = Sampling(max_tokens=24, temperature=1.0, top_k=40, top_p=0.9, seed=3, frequency_penalty=0.5)


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        replace(GREEDY, frequency_penalty=0.7, presence_penalty=0.5, repetition_penalty=1.3),
        replace(GREEDY, pictures="allowed", guidance=3.0, max_tokens=60),
        replace(GREEDY, pictures="only"),
        replace(GREEDY, pictures="only", grid="free", max_tokens=60),
        replace(GREEDY, stop=("e", " t")),
    ],
    ids=["plain", "penalties", "guidance", "picture", "free picture", "stop"],
)
def test_greedy_replies_are_those_of_the_engine(
    engine: Engine, device: DeviceEngine, documents: list[Document], sampling: Sampling
) -> None:
    for wanted, got in zip(
        engine.reply(documents, sampling), device.reply(documents, sampling), strict=True
    ):
        assert got.ids == wanted.ids
        assert got.turn == wanted.turn
        assert got.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
        assert (got.finish, got.prompt_tokens) == (wanted.finish, wanted.prompt_tokens)


def test_a_stream_is_its_reply(device: DeviceEngine, documents: list[Document]) -> None:
    for document in documents:
        [reply] = device.reply([document], HOT)
        assert Turn(reply.turn.role, tuple(device.stream(document, HOT))) == reply.turn


def test_a_seed_says_the_same_again(device: DeviceEngine, documents: list[Document]) -> None:
    first, again = (device.reply(documents, HOT) for _ in range(2))
    assert first == again
    assert [reply.ids for reply in device.reply(documents, replace(HOT, seed=4))] != [
        reply.ids for reply in first
    ]


def test_answers_are_as_likely_as_the_engine_finds_them(
    engine: Engine, device: DeviceEngine, documents: list[Document]
) -> None:
    pairs = [(document, "the lazy dog") for document in documents]
    for wanted, got in zip(engine.score(pairs), device.score(pairs), strict=True):
        assert got.nats == pytest.approx(wanted.nats, rel=1e-4)
        assert (got.tokens, got.bytes, got.right) == (wanted.tokens, wanted.bytes, wanted.right)


def test_pages_of_any_length_surprise_as_much(engine: Engine, device: DeviceEngine) -> None:
    text = "the quick brown fox jumps over seven lazy wizards. " * 16
    wanted, got = engine.surprise(text), device.surprise(text)
    assert got.nats == pytest.approx(wanted.nats, rel=1e-4)
    assert (got.tokens, got.bytes) == (wanted.tokens, wanted.bytes)


def test_four_bits_say_something_alike(
    engine: Engine, documents: list[Document], tmp_path: Path
) -> None:
    folder = tmp_path / "int4"
    keep(engine.weights, config=engine.shape, folder=folder, precision="int4")
    device = DeviceEngine(folder, vocab=engine.vocab, codec=engine.codec, threads=1)
    pairs = [(document, "the lazy dog") for document in documents]
    for wanted, got in zip(engine.score(pairs), device.score(pairs), strict=True):
        assert got.nats == pytest.approx(wanted.nats, rel=0.1)


def test_a_document_that_is_too_long_is_refused(device: DeviceEngine) -> None:
    with pytest.raises(ValueError, match=r"takes \d+ tokens; this model's context holds 256"):
        device.reply([Document.of("fox " * 400)], GREEDY)


def test_a_vocabulary_of_another_model_is_refused(folder: Path, device: DeviceEngine) -> None:
    other = learn(["one two three " * 40], size=340, codes=0)
    with pytest.raises(ValueError, match=rf"has {other.size} ids but the model was made for"):
        DeviceEngine(folder, vocab=other)


def test_pictures_are_asked_of_a_model_that_can_draw(folder: Path, device: DeviceEngine) -> None:
    plain = DeviceEngine(folder, vocab=device.vocab, threads=1)
    with pytest.raises(ValueError, match="this model cannot draw"):
        plain.reply([Document.of("hi")], replace(GREEDY, pictures="only"))
