"""The engine keeps its promises whatever the weights are: these are random."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.core.content import Document, Media, Text, Turn
from castor.core.media import open_image, ppm
from castor.models import decoder
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.sizes import ModelConfig
from castor.sample.choose import Sampling
from castor.sample.engine import Engine, Reply
from castor.sample.rows import rows_of
from castor.tokens.learn import learn
from castor.tokens.vocab import Control

WARM = Sampling(temperature=1.0, max_tokens=20, seed=3)
MIXED = Sampling(temperature=1.0, max_tokens=60, seed=5, pictures="allowed", grid=(2, 3))


def whole(engine: Engine, document: Document, sampling: Sampling) -> tuple[list, Reply]:
    """All pieces of a stream, and the Reply that it ends with."""
    pieces, stream = [], engine.stream(document, sampling)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def role_after(document: Document) -> str:
    return "page" if document.turns[-1].role == "page" else "model"


@partial(jax.jit, static_argnames="config")
def every_logit(model: decoder.Model, batch: Batch, *, config: ModelConfig) -> jax.Array:
    return decoder.logits(model, decoder.hidden(model, batch, config=config))


def full_logprobs(engine: Engine, document: Document, reply: Reply) -> np.ndarray:
    """Log-probabilities of all ids where the reply's ids stand, by the full forward pass."""
    prompt = engine.rendered(document, open_turn=role_after(document))
    ids = np.concatenate([prompt.ids, np.array(reply.ids, np.int32)])
    row = prompt._replace(ids=ids, weights=np.ones(len(ids), np.float32))
    batch = rows_of([row], length=engine.config.context).batch()
    scores = np.asarray(every_logit(engine.weights, batch, config=engine.shape)[0], np.float64)
    scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
    return scores[len(prompt.ids) - 1 : len(ids) - 1]


def test_cached_decoding_is_the_full_forward_pass(engine, documents):
    replies = engine.reply(documents, Sampling(max_tokens=20))
    for document, reply in zip(documents, replies, strict=True):
        scores = full_logprobs(engine, document, reply)
        ids = np.array(reply.ids)
        text = np.r_[Control.END, 64 : engine.vocab.text_size]
        assert (text[scores[:, text].argmax(1)] == ids).all()
        np.testing.assert_allclose(scores[np.arange(len(ids)), ids], reply.logprobs, atol=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        MIXED,
        *(pytest.param(way, marks=pytest.mark.slow) for way in (Sampling(max_tokens=20), WARM)),
    ],
)
def test_a_reply_does_not_depend_on_its_company(engine, documents, sampling):
    together = engine.reply(documents, sampling)
    for number, document in enumerate(documents):
        seed = sampling.seed + number
        alone = engine.reply([document], Sampling(**{**vars(sampling), "seed": seed}))[0]
        assert alone.ids == together[number].ids
        assert alone.turn == together[number].turn
        np.testing.assert_allclose(alone.logprobs, together[number].logprobs, atol=1e-4)


def test_the_same_seed_says_the_same_and_another_something_else(engine, documents):
    first, again = (engine.reply(documents, WARM) for _ in range(2))
    assert first == again
    other = engine.reply(documents, Sampling(**{**vars(WARM), "seed": 99}))
    assert all(a.ids != b.ids for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pictures", ["never", "allowed", "only"])
def test_a_stream_is_its_reply(engine, documents, pictures, seed):
    sampling = Sampling(**{**vars(MIXED), "pictures": pictures, "seed": seed, "stop": ("e", "ox")})
    for document in documents[:3]:
        pieces, last = whole(engine, document, sampling)
        reply = engine.reply([document], sampling)[0]
        assert last == reply
        assert Turn(reply.turn.role, tuple(pieces)) == reply.turn


def test_random_weights_under_the_grammar_make_whole_pictures_and_text(engine, documents):
    drawn = 0
    for reply in engine.reply(documents * 5, MIXED):
        assert {type(part) for part in reply.turn.parts} <= {Text, Media}
        for part in reply.turn.parts:
            if isinstance(part, Media):
                assert open_image(part.data, part.mime).shape == (16, 24, 3)
                drawn += 1
    assert drawn > 0


def test_only_a_picture_is_one_picture_of_the_grid_whatever_max_tokens_is(engine):
    sampling = Sampling(temperature=1.0, max_tokens=4, pictures="only", grid=(3, 2))
    reply = engine.reply([Document.of("a fox")], sampling)[0]
    (picture,) = reply.turn.parts
    assert open_image(picture.data, picture.mime).shape == (24, 16, 3)
    assert reply.finish == "stop" and reply.ids[-1] == Control.END


@pytest.mark.parametrize("patch", [pytest.param(8, marks=pytest.mark.slow), 16])
def test_a_picture_is_as_large_as_those_that_the_codec_was_trained_on(engine, patch):
    shape = CodecConfig(patch=patch, levels=(4, 4), width=16, heads=1, side=64)
    codec = (init_codec(shape, jax.random.key(0)), shape)
    drawer = Engine(engine.weights, config=engine.shape, vocab=engine.vocab, codec=codec)
    reply = drawer.reply([Document.of("a fox")], Sampling(pictures="only"))[0]
    (picture,) = reply.turn.parts
    assert open_image(picture.data, picture.mime).shape == (64, 64, 3)
    assert len(reply.ids) == (64 // patch) ** 2 + 5  # begin, two sides, end of picture and of turn


def test_a_free_grid_fits_into_what_is_left(engine):
    sampling = Sampling(temperature=1.0, max_tokens=8, pictures="only", grid="free")
    for reply in engine.reply([Document.of("a fox")] * 8, sampling):
        (picture,) = reply.turn.parts
        height, width, _ = open_image(picture.data, picture.mime).shape
        assert height * width // 64 + 4 <= 8


def test_a_picture_that_does_not_fit_is_not_begun(engine):
    sampling = Sampling(temperature=2.0, max_tokens=9, pictures="allowed", grid=(2, 3))
    for reply in engine.reply([Document.of("a fox")] * 32, sampling):
        assert Control.DRAW_BEGIN not in reply.ids


def test_a_drawn_picture_can_be_talked_about(engine):
    asked = Document.of("a fox")
    sampling = Sampling(temperature=1.0, pictures="only", grid=(2, 2))
    drawn = engine.reply([asked], sampling)[0]
    talk = asked.then(*drawn.turn.parts).then("what is it?", role="user")
    assert engine.reply([talk], Sampling(max_tokens=4))[0].prompt_tokens > len(drawn.ids)


def test_guidance_of_one_or_none_changes_nothing_and_a_strong_one_does(engine):
    def ids(guidance: float) -> tuple[int, ...]:
        sampling = Sampling(pictures="only", grid=(4, 4), guidance=guidance)
        return engine.reply([Document.of("a fox")], sampling)[0].ids

    assert ids(0.0) == ids(1.0) == ids(1.0000001)
    assert ids(8.0) != ids(1.0)


def test_guidance_towards_the_empty_prompt_itself_changes_nothing(engine):
    asked = Document((Turn("user", ()),))
    plain, guided = (
        engine.reply([asked], Sampling(pictures="only", grid=(4, 4), guidance=g))[0]
        for g in (0.0, 5.0)
    )
    assert plain.ids == guided.ids


def test_scores_are_what_decoding_says(engine, documents):
    replies = engine.reply(documents, Sampling(max_tokens=30))
    ended = [
        (d, r)
        for d, r in zip(documents, replies, strict=True)
        if r.finish == "stop" and "\ufffd" not in str(r.turn)
    ]
    texts = ["fox", "the dog", "", "äö 漢"]
    scores = engine.score([(d, t) for d in documents for t in texts])
    assert [s.bytes for s in scores[:4]] == [len(t.encode()) for t in texts]
    for document, reply in ended:
        said = "".join(part.text for part in reply.turn.parts)
        score = engine.score([(document, said)])[0]
        assert score.tokens <= len(reply.ids)


def test_a_score_is_the_full_forward_pass_of_prompt_and_answer(engine, documents):
    for document in documents:
        ids = (*engine.vocab.encode("the dog"), int(Control.END))
        as_reply = Reply(Turn("model", ()), ids, (), "stop", 0)
        scores = full_logprobs(engine, document, as_reply)
        found = engine.score([(document, "the dog")])[0]
        np.testing.assert_allclose(
            found.nats, -scores[np.arange(len(ids)), list(ids)].sum(), rtol=1e-4
        )
        assert found.right == (scores.argmax(1) == ids).sum()
        assert found.tokens == len(ids) and found.greedy == (found.right == len(ids))


def test_scores_do_not_depend_on_their_company(engine, documents):
    pairs = [(d, "fox " * n) for n, d in enumerate(documents)]
    for pair, score in zip(pairs, engine.score(pairs), strict=True):
        alone = engine.score([pair])[0]
        np.testing.assert_allclose(alone.nats, score.nats, rtol=1e-4)
        assert alone.tokens == score.tokens and alone.bytes == score.bytes


def test_a_long_page_is_surprising_token_by_token(engine):
    text = "the quick brown fox " * 60
    whole_page = engine.surprise(text)
    assert whole_page.tokens == len(engine.vocab.encode(text))
    assert whole_page.bytes == len(text.encode())
    assert 0 < whole_page.nats < whole_page.tokens * 40


def test_a_page_is_continued_and_a_models_turn_is_finished(engine):
    page = engine.reply([Document.of("the fox", role="page")], WARM)[0]
    assert page.turn.role == "page"
    begun = Document.of("a fox?").then("the d")
    reply = engine.reply([begun], WARM)[0]
    fresh = engine.reply([Document.of("a fox?")], WARM)[0]
    assert reply.turn.role == "model"
    assert reply.prompt_tokens == fresh.prompt_tokens + len(engine.vocab.encode("the d"))


def test_what_is_said_grows_past_every_bucket_of_the_cache(engine):
    sampling = Sampling(max_tokens=240, temperature=1.0, stop=())
    replies = engine.reply([Document.of("a")] * 8, sampling)
    longest = max(replies, key=lambda r: len(r.ids))
    scores = full_logprobs(engine, Document.of("a"), longest)
    ids = np.array(longest.ids)
    assert len(ids) > 64
    np.testing.assert_allclose(scores[np.arange(len(ids)), ids], longest.logprobs, atol=1e-3)


def test_a_reply_stops_where_the_context_ends_whoever_is_beside_it(engine):
    near = Document.of("fox " * 80)
    left = engine.config.context - len(engine.rendered(near, open_turn="model").ids)
    sampling = Sampling(max_tokens=200, temperature=2.0)
    replies = engine.reply([near, Document.of("a")], sampling)
    assert left < len(replies[1].ids) or replies[1].finish == "stop"
    assert len(replies[0].ids) <= left
    # One row is multiplied in another order than two: at the demo's width logprobs differ by 5e-6.
    alone = engine.reply([near], sampling)[0]
    assert replace(alone, logprobs=()) == replace(replies[0], logprobs=())
    np.testing.assert_allclose(alone.logprobs, replies[0].logprobs, atol=1e-5)


def test_closing_a_stream_ends_the_work(engine):
    stream = engine.stream(Document.of("a fox"), WARM)
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)


def test_a_bfloat16_engine_answers_nearly_the_same(engine, documents):
    half = Engine(
        engine.weights,
        config=engine.shape,
        vocab=engine.vocab,
        codec=engine.codec,
        precision="bfloat16",
    )
    assert half.weights.decoder.embedding.dtype == jnp.bfloat16
    pairs = [(d, "the dog") for d in documents]
    for a, b in zip(half.score(pairs), engine.score(pairs), strict=True):
        np.testing.assert_allclose(a.nats, b.nats, rtol=0.05)


def test_prompts_that_cannot_be_answered_are_refused_in_a_sentence(engine):
    long = Document.of("seven wizards " * 200)
    with pytest.raises(ValueError, match="this model's context holds 256"):
        engine.reply([long], WARM)
    with pytest.raises(ValueError, match="this model's context holds 256"):
        engine.score([(Document.of("a"), "wizards " * 200)])
    with pytest.raises(ValueError, match="does not read text/html"):
        engine.reply([Document.of(Media("text/html", b"<p>"))], WARM)
    small = Media("image/x-portable-pixmap", ppm(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match="4 by 4 pixels is too small to be drawn"):
        engine.reply([Document.of("a").then(small).then("b", role="user")], WARM)


def test_a_prompt_that_fills_the_context_leaves_no_room_for_a_reply(engine):
    size, text = engine.config.context, "fox "
    while len(engine.rendered(Document.of(text), open_turn="model").ids) < size:
        text += "1"
    with pytest.raises(ValueError, match="a reply needs some of them"):
        engine.reply([Document.of(text)], WARM)
    with pytest.raises(ValueError, match="a picture takes 8 tokens or more; there are 1 left"):
        engine.reply([Document.of(text[:-1])], Sampling(pictures="only"))


def test_a_model_without_a_codec_refuses_to_draw(engine):
    mute = Engine(engine.weights, config=engine.shape, vocab=engine.vocab)
    with pytest.raises(ValueError, match="this model cannot draw: it has no picture codec"):
        mute.reply([Document.of("a fox")], MIXED)
    with pytest.raises(ValueError, match="this model cannot draw"):
        mute.picture(np.zeros((2, 2), np.int32))


def test_parts_that_do_not_belong_together_are_refused(engine, vocab):
    other = CodecConfig(levels=(3, 3))
    with pytest.raises(ValueError, match="the codec has 9 codes but the vocabulary 16"):
        Engine(engine.weights, config=engine.shape, vocab=vocab, codec=(engine.codec[0], other))
    smaller = learn(["a b c d"] * 9, size=330)
    with pytest.raises(ValueError, match="has 384 ids but the model was made for 512"):
        Engine(engine.weights, config=engine.shape, vocab=smaller)
