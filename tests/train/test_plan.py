"""What is planned from shapes is what real arrays take."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.models.decoder import init
from castor.models.layout import bytes_per_device, in_use, mesh_of, shard, shard_rows
from castor.models.sizes import TINY, ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.collectives import Program, collectives_in
from castor.train.job import model_job
from castor.train.objectives import next_token
from castor.train.optim import AdamW
from castor.train.plan import (
    Work,
    cache_bytes,
    kept_bytes,
    passes_of,
    program_of,
    stand_ins,
    work_of,
)
from castor.train.recipe import Recipe
from castor.train.rows import rows_of
from castor.train.step import cast
from train.small import CODEC, NOWHERE, TEXT

# Wide, so that weights are more than activations.
WIDE = ModelConfig(layers=3, width=32, hidden=2048, heads=4, head_width=8, vocab=64, context=16)
MATRICES = 2 * 3 * WIDE.width * WIDE.hidden  # bytes of a layer's largest, in bfloat16
MESH = {"fsdp": 4, "tensor": 2}
ROWS, LENGTH = 8, 16
RECIPE = replace(
    TEXT, model=replace(TEXT.model, image=TINY.image, audio=TINY.audio), capacity={"image": 40}
)


def passes(layers: int = 3, **settings: Any) -> Work:
    config = replace(WIDE, layers=layers)
    work = passes_of(config, rows=ROWS, length=LENGTH)
    return work._replace(objective=partial(next_token, config=config, **settings))


def text(config: ModelConfig, *, rows: int, length: int) -> Batch:
    """Rows of random ids."""
    ids = np.random.default_rng(0).integers(0, config.vocab, (rows, length)).astype(np.int32)
    ones, none = np.ones_like(ids), np.zeros_like(ids)
    places = np.broadcast_to(np.arange(length, dtype=np.int32), ids.shape)
    return Batch(ids, ids, ones.astype(np.float32), ones, places, none, none, {})


def on_first(tree: Any) -> int:
    """Bytes of real arrays on the first device."""
    parts = [x.addressable_shards[0].data for x in jax.tree.leaves(tree)]
    return sum(part.size * part.dtype.itemsize for part in parts)


@cache
def kept(layers: int = 3, remat: str = "none") -> int:
    return kept_bytes(passes(layers, remat=remat), stand_ins(MESH))


@cache
def program(layers: int = 3, remat: str = "none") -> Program:
    return program_of(passes(layers, remat=remat), stand_ins(MESH))


@cache
def sent(layers: int = 3) -> dict[Any, tuple[int, int]]:
    """How often, and how many bytes, by kind and axes."""
    found = collectives_in(program(layers).text, stand_ins(MESH).shape)
    return {(c.kind, c.axes): (c.times, c.sent_bytes) for c in found}


@pytest.fixture(scope="module")
def weights() -> Any:
    """Real ones, on the devices of the mesh."""
    with in_use(mesh_of(MESH)):
        return shard(jax.jit(partial(init, WIDE))(jax.random.key(0)))


def test_the_weights_of_a_plan_are_as_large_as_real_ones(weights: Any) -> None:
    assert bytes_per_device(passes().weights, mesh_of(MESH)) == on_first(weights)


@pytest.mark.slow
def test_what_is_kept_is_as_large_as_the_arrays_that_a_real_pass_keeps(weights: Any) -> None:
    @jax.jit
    def passed(model: Any, batch: Batch) -> list[Any]:
        narrow = cast(model, "bfloat16")
        back = jax.vjp(lambda m: next_token(m, batch, config=WIDE).nats, narrow)[1]
        given = {id(x) for x in jax.tree.leaves((narrow, batch))}
        return [x for x in jax.tree.leaves(back) if id(x) not in given]

    with in_use(mesh_of(MESH)):
        real = on_first(passed(weights, shard_rows(text(WIDE, rows=ROWS, length=LENGTH))))
    assert kept() == pytest.approx(real, rel=0.02)


@pytest.mark.slow
def test_a_layer_keeps_its_input_its_products_and_what_attention_gives() -> None:
    D, N, H, F = WIDE.width, WIDE.heads, WIDE.head_width, WIDE.hidden
    of_a_token = 2 * (D + N * H + 2 * H + D + 2 * F)  # input, queries, keys, values, wo, gate, up
    attended = 2 * N * H + 4 * N  # and the logarithms of the total powers
    tokens = ROWS * LENGTH // 8
    assert kept(4) - kept(3) == pytest.approx(tokens * (of_a_token + attended), rel=0.05)


def test_no_layer_keeps_the_weights_that_it_gathered() -> None:
    assert kept(4) - kept(3) < MATRICES / 2


def test_layers_that_keep_their_input_alone_keep_less() -> None:
    assert kept(3, "full") < kept(3) / 4


@pytest.mark.slow
def test_a_plan_of_layers_that_are_computed_again_needs_less_at_once() -> None:
    full, dots = program(remat="full").memory, program().memory
    assert full.temp_size_in_bytes < dots.temp_size_in_bytes


@pytest.mark.slow
def test_each_layer_sends_as_much_as_the_last() -> None:
    few, more, most = sent(3), sent(4), sent(5)
    assert few.keys() == more.keys() == most.keys()
    for of, numbers in more.items():
        steps = np.subtract(numbers, few[of]), np.subtract(most[of], numbers)
        np.testing.assert_allclose(*steps, atol=2)  # bytes are rounded


@pytest.mark.slow
def test_weights_are_gathered_once_forward_and_once_backward() -> None:
    gathered = sent(4)["all-gather", ("fsdp",)][1] - sent(3)["all-gather", ("fsdp",)][1]
    each = MATRICES / MESH["tensor"] * 3 / 4
    assert 2 * each <= gathered < 2.2 * each


def test_the_units_of_a_layer_are_computed_where_their_weights_lie() -> None:
    config = replace(WIDE, width=64, hidden=256, heads=8, post_norms=True)
    text = program_of(passes_of(config, rows=16, length=16), stand_ins(MESH)).text
    found = collectives_in(text, stand_ins(MESH).shape)
    along = sum(c.sent_bytes for c in found if c.axes == ("tensor",))
    matrices = 2 * 3 * config.width * config.hidden
    assert along < 2 * config.layers * matrices  # to gather them twice, and to add up their slopes


@pytest.mark.slow
def test_the_optimizer_is_a_part_of_a_recipes_step() -> None:
    work = passes()._replace(optimizer=AdamW())
    found = collectives_in(program_of(work, stand_ins(MESH)).text, stand_ins(MESH).shape)
    assert sum(c.times for c in found) > sum(times for times, _ in sent().values())


@pytest.mark.slow
def test_parts_of_a_batch_keep_less_at_a_time() -> None:
    twice = passes_of(WIDE, rows=2 * ROWS, length=LENGTH)._replace(accumulate=2)
    assert kept_bytes(twice, stand_ins(MESH)) == kept()


def shapes(tree: Any) -> list[tuple[tuple[int, ...], Any]]:
    return [(x.shape, jnp.dtype(x.dtype)) for x in jax.tree.leaves(tree)]


def test_a_batch_is_planned_as_the_loader_makes_it(vocab: Vocab) -> None:
    recipe = replace(RECIPE, mixture=Mixture((Part(Playground("shapes"), 1.0),)), length=128)
    batches = rows_of(recipe, config=recipe.model, vocab=vocab, book=None, data=NOWHERE)
    real = next(batches.training(0, range(recipe.rows)))
    assert shapes(real) == shapes(work_of(recipe).batch)


def test_a_run_keeps_what_its_recipe_says(vocab: Vocab, tmp_path: Path) -> None:
    def kept(recipe: Recipe) -> int:
        job = model_job(recipe, vocab=vocab, codec=None, book=None, data=NOWHERE, out=tmp_path)
        config = replace(recipe.model, vocab=vocab.size)
        work = passes_of(config, rows=recipe.rows, length=recipe.length)

        def back(model: Any, batch: Any) -> Any:
            return jax.vjp(lambda model: job.objective(model, batch).nats, model)[1]

        return sum(x.size for x in jax.tree.leaves(jax.eval_shape(back, work.weights, work.batch)))

    assert kept(replace(TEXT, remat="full")) < 0.8 * kept(TEXT)


@pytest.mark.parametrize("recipe", [replace(RECIPE, capacity={"image": 4, "audio": 9}), CODEC])
def test_the_step_of_a_recipe_takes_the_batch_that_is_planned(recipe: Any) -> None:
    work = work_of(recipe)
    loss = jax.eval_shape(lambda m, b: work.objective(m, b).nats, work.weights, work.batch)
    assert loss.shape == () and work.optimizer == recipe.optimizer


def test_a_cache_holds_keys_and_values_of_every_layer() -> None:
    assert cache_bytes(WIDE, context=100) == 2 * 100 * WIDE.layers * WIDE.head_width * 2


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"fsdp": 4096}, "fsdp=4096 has 4,096 devices, and a step is planned for 2,048 at most; "),
        ({"fsdp": 16}, "fsdp=16 needs 16 CPUs that play its devices, and there are 8; "),
    ],
)
def test_more_devices_than_can_be_played_are_refused(sizes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        stand_ins(sizes)
