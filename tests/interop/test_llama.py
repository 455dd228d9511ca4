"""GGUF files against llama.cpp itself, where its server is built: `make llama`."""

from pathlib import Path

import numpy as np
import pytest

from castor.interop.gguf import write_gguf
from castor.tokens.proto import NORMAL
from tests.interop.llama import (
    SHAPES,
    TEXT,
    asked,
    random_model,
    scores,
    served,
    shape,
    spoken,
)

pytestmark = pytest.mark.slow

# llama.cpp looks a GELU up in a table of float16 numbers.
ROUNDED = 5e-3


def theirs(address: str, ids: list[int], *, size: int) -> np.ndarray:
    """Its log-probabilities of every id after these, before the bias that has it say a word: of
    half a character it tells none."""
    word = next(i for i, piece in enumerate(spoken().pieces) if piece.kind == NORMAL)
    body = {"prompt": ids, "n_predict": 1, "n_probs": size, "temperature": -1.0}
    body["logit_bias"] = [[word, 1e4]]
    reply = asked(address, "/completion", body | {"cache_prompt": False, "ignore_eos": True})
    found = np.full(size, np.nan)
    for entry in reply["completion_probabilities"][0]["top_logprobs"]:
        found[entry["id"]] = entry["logprob"]
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_llama_cpp_gives_our_logits(name: str, tmp_path: Path) -> None:
    config = shape(name)
    model = random_model(config, seed=3)
    ids = [2, *spoken().encode(TEXT)][:24]
    write_gguf(tmp_path / "m.gguf", model, config, vocab=spoken(), precision="float32")
    with served(tmp_path / "m.gguf") as address:
        found = theirs(address, ids, size=config.vocab)
    ours = scores(model, config, ids)[-1]
    assert np.isfinite(found).mean() > 0.9
    assert np.nanmax(np.abs(found - ours)) < ROUNDED * np.abs(ours).max()
