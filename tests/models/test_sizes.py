import math
import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import pytest

from castor.models import sizes
from castor.models.decoder import init
from castor.models.sizes import (
    TINY,
    AudioConfig,
    ExpertsConfig,
    ImageConfig,
    InputsConfig,
    Layer,
    ModelConfig,
    Stage,
)

GOLDENS = Path(__file__).parent / "goldens"
NAMES = ["TINY", "MINI", "DEMO", "DEMO_LARGE", "NANO_1", "NANO_2", "PRO", "ULTRA"]
REPORTED = {"NANO_1": 1.8e9, "NANO_2": 3.25e9}  # Gemini report, table 1


@cache
def tree(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    shapes = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def total(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in tree(config).values())


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_a_size_are_those_of_the_golden_tree(name):
    config = getattr(sizes, name)
    lines = [f"{total(config):,} weights"]
    lines += [f"{path} {'x'.join(map(str, shape))}" for path, shape in tree(config).items()]
    text, golden = "\n".join(lines) + "\n", GOLDENS / f"{name}.txt"
    if os.environ.get("CASTOR_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", REPORTED)
def test_the_nano_sizes_have_the_weights_that_the_report_gives(name):
    assert total(getattr(sizes, name)) == pytest.approx(REPORTED[name], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_size_shares_one_key_value_head(name):
    assert getattr(sizes, name).kv_heads == 1


def test_query_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads=6 is not a multiple of kv_heads=4"):
        ModelConfig(layers=1, width=8, hidden=8, heads=6, head_width=2, kv_heads=4)


def test_layers_that_do_not_fill_the_pattern_are_refused():
    with pytest.raises(ValueError, match="layers=3 is not a multiple of the pattern's 2"):
        pattern = (sizes.Layer(), sizes.Layer(rope_base=1e6))
        ModelConfig(layers=3, width=8, hidden=8, heads=4, head_width=2, pattern=pattern)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(({name: 0}, f"ModelConfig.{name}=0 must be 1 or more")
          for name in ("layers", "width", "hidden", "heads", "head_width", "kv_heads")),
        ({"layers": -1}, "ModelConfig.layers=-1 must be 1 or more"),
        ({"vocab": 0}, "ModelConfig.vocab=0 must be from 1 to 2,147,483,647"),
        ({"context": 2**31}, "ModelConfig.context=2147483648 must be from 1 to 2,147,483,647"),
        ({"head_width": 7}, "ModelConfig.head_width=7 must be even"),
        ({"pattern": ()}, "ModelConfig.pattern=() must name at least one Layer"),
    ],
)  # fmt: skip
def test_a_decoder_that_cannot_be_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rope_base": 0}, "Layer.rope_base=0 must be above 0"),
        ({"rope_factor": 0}, "Layer.rope_factor=0 must be above 0"),
        ({"rope_share": 1.5}, "Layer.rope_share=1.5 must be from 0 to 1"),
        *(({name: 0}, f"Layer.{name}=0 must be 1 or more")
          for name in ("window", "head_width", "kv_heads", "hidden")),
        ({"keys_of": -1}, "Layer.keys_of=-1 must be 0 or more"),
        ({"keys_of": 0, "tied_values": True}, "Layer: keys_of=0 leaves no values to tie to keys"),
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Layer(**change)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Stage(()), "Stage.pattern=() must name at least one Layer"),
        (lambda: Stage((Layer(),), 0), "Stage.repeats=0 must be 1 or more"),
        (lambda: ExpertsConfig(0, 1, 8), "ExpertsConfig.count=0 must be 1 or more"),
        (lambda: ExpertsConfig(2, 3, 8), "ExpertsConfig.chosen=3 of count=2 experts"),
        (lambda: InputsConfig(0, 8), "InputsConfig.width=0 must be 1 or more"),
    ],
)
def test_a_part_that_cannot_be_is_refused(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


READ = "must be a layer before it that makes keys, in a stage that is not repeated"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(({name: 0.0}, f"ModelConfig.{name}=0.0 must be above 0")
          for name in ("score_scale", "score_cap", "logit_cap")),
        ({"further": (Stage((Layer(),), 2),)}, "layers=0 is not a multiple of the pattern's 1"),
        ({"pattern": (Layer(kv_heads=3),)}, "heads=4 is not a multiple of kv_heads=3"),
        ({"pattern": (Layer(head_width=5),)}, "Layer.head_width=5 must be even"),
        ({"further": (Stage((Layer(keys_of=1),)),)}, f"Layer.keys_of=1 {READ}"),
        ({"further": (Stage((Layer(keys_of=7),)),)}, f"Layer.keys_of=7 {READ}"),
        ({"layers": 3, "further": (Stage((Layer(keys_of=0),)),)}, f"Layer.keys_of=0 {READ}"),
        ({"layers": 3, "further": (Stage((Layer(keys_of=0), Layer(keys_of=1))),)},
         f"Layer.keys_of=1 {READ}"),
        ({"further": (Stage((Layer(keys_of=0, head_width=8),)),)},
         "Layer.keys_of=0 has heads of another number or width"),
    ],
)  # fmt: skip
def test_layers_that_do_not_go_together_are_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        replace(TINY, **change)


def test_stages_and_entries_tell_the_same_layers() -> None:
    one, two = Layer(), Layer(window=4)
    config = replace(TINY, layers=5, pattern=(one, two), further=(Stage((two,)),))
    assert config.every_layer == (one, two, one, two, two)
    assert config.entries == ((one, 2), (two, 2), (two, 1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(({name: 0}, f"ImageConfig.{name}=0 must be 1 or more")
          for name in ("patch", "pool", "width", "heads", "side", "detail", "slots",
                       "frame_slots")),
        ({"least": -5}, "ImageConfig.least=-5 must be 1 or more"),
        ({"halo": -1}, "ImageConfig.halo=-1 must be 0 or more"),
        ({"layers": -1}, "ImageConfig.layers=-1 must be 0 or more"),
        ({"stem": (0, 8)}, "ImageConfig.stem=(0, 8) must each be 1 or more"),
        ({"stem": (1,)}, "ImageConfig.stem=(1,) must be the channels of two convolutions, or ()"),
        ({"width": 5}, "ImageConfig.width=5 is not a multiple of heads=3"),
        ({"heads": 7}, "ImageConfig.width=192 is not a multiple of heads=7"),
        ({"patch": 7}, "patch=7 and halo=4 make windows of 15 pixels, and stem=(48, 96) reads an"),
        ({"halo": 1}, "make windows of 10 pixels, and stem=(48, 96) reads an even number, 12 or"),
    ],
)  # fmt: skip
def test_an_image_encoder_that_cannot_be_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        ImageConfig(**change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(({name: 0}, f"AudioConfig.{name}=0 must be 1 or more")
          for name in ("width", "heads", "slots")),
        ({"layers": -1}, "AudioConfig.layers=-1 must be 0 or more"),
        ({"channels": (0, 8)}, "AudioConfig.channels=(0, 8) must each be 1 or more"),
        ({"mels": -1}, "AudioConfig.mels=-1 must be 4 or more, since two convolutions halve them"),
        ({"heads": 64}, "AudioConfig.width=192 is not a multiple of 2 * heads=128"),
    ],
)  # fmt: skip
def test_an_audio_encoder_that_cannot_be_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        AudioConfig(**change)


@pytest.mark.parametrize(
    "image",
    [
        ImageConfig(halo=2),
        ImageConfig(patch=12, halo=0),
        ImageConfig(patch=7, halo=0, stem=()),
        ImageConfig(patch=1, halo=0, stem=(), heads=192, least=1),
    ],
)
def test_the_smallest_windows_that_are_allowed_make_weights(image: ImageConfig) -> None:
    assert all(math.prod(s) or s[0] == 0 for s in tree(replace(TINY, image=image)).values())


def test_the_fewest_mel_bins_that_are_allowed_make_weights() -> None:
    audio = AudioConfig(mels=4, slots=1, width=2, heads=1)
    assert all(math.prod(s) or s[0] == 0 for s in tree(replace(TINY, audio=audio)).values())
