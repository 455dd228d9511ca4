from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from castor.models.per_layer import init_inlet, init_inputs, inputs_of, taken_in
from castor.models.sizes import TINY, InputsConfig

CONFIG = replace(TINY, width=16, norm_start=0.0, inputs=InputsConfig(width=4, vocab=32))


def norm(x):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def test_inputs_are_what_the_ids_and_the_first_states_say():
    inputs = init_inputs(CONFIG, jax.random.key(0))
    ids, x = jnp.array([[3, 1, 4]]), jax.random.normal(jax.random.key(1), (1, 3, 16))
    states = norm((np.asarray(x) @ np.asarray(inputs.projection) / 4).reshape(3, 2, 4))
    rows = 2 * np.asarray(inputs.embedding)[np.asarray(ids[0])].reshape(3, 2, 4)
    expected = ((states + rows) / np.sqrt(2)).swapaxes(0, 1)
    np.testing.assert_allclose(inputs_of(inputs, ids, x, start=0.0), expected, atol=1e-5)


def test_a_layer_takes_its_input_in_through_a_gate():
    inlet = init_inlet(CONFIG, jax.random.key(0))
    x, own = (jax.random.normal(jax.random.key(i), (3, n)) for i, n in ((1, 16), (2, 4)))
    gate = np.asarray(x) @ np.asarray(inlet.gate)
    opened = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    expected = norm((opened * np.asarray(own)) @ np.asarray(inlet.out))
    np.testing.assert_allclose(taken_in(inlet, x, own, start=0.0), expected, atol=2e-5)


def test_a_model_without_inputs_has_none():
    assert init_inputs(TINY, jax.random.key(0)) is None
    assert init_inlet(TINY, jax.random.key(0)) is None
