"""What leaves Castor, in transformers itself, where it and torch are installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.core.content import Document, Media, Text, Turn
from castor.interop.outward import save_folder
from castor.models.modality import cut_picture
from castor.models.sizes import Layer, ModelConfig
from castor.tokens.render import render
from tests.interop.llama import SIZES, TEXT, greedy, random_model, scores, shape, spoken
from tests.interop.test_outward import saved, seeing, spoken_by

pytestmark = pytest.mark.slow
OURS = {
    "ours": {"layers": 2, "kv_heads": 1},
    "ours, far": {"layers": 2, "pattern": (Layer(rope_base=5e5, rope_factor=4.0),)},
    "ours, local": {"layers": 4, "pattern": (Layer(window=5), Layer())},
}


def config_of(name: str) -> ModelConfig:
    if name in OURS:
        return ModelConfig(**(SIZES | {"vocab": spoken().size} | OURS[name]))
    return shape(name)


def opened(folder: Path) -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", [*OURS, "gemma", "gemma3"])
def test_transformers_computes_and_says_the_same(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    config = config_of(name)
    ours = random_model(config, seed=5)
    save_folder(tmp_path / "hf", ours, config, vocab=spoken(), precision="float32")
    model, _ = opened(tmp_path / "hf")
    ids = [2, *spoken().encode(TEXT)][:20]
    with torch.no_grad():
        found = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1).numpy()
        more = model.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False)
    expected = scores(ours, config, ids)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    said = greedy(ours, config, ids, 5)
    stop = next((n + 1 for n, i in enumerate(said) if i in (1, 8)), 5)
    assert more[0, len(ids) :].tolist() == said[:stop]


def test_its_chats_and_texts_are_ours(tmp_path: Path) -> None:
    config = config_of("ours")
    save_folder(tmp_path / "hf", random_model(config), config, vocab=spoken())
    _, tokenizer = opened(tmp_path / "hf")
    assert tokenizer.encode(TEXT) == [2, *spoken().encode(TEXT)]
    turns = (Turn("system", (Text("Be  brief.\n"),)), Turn("user", (Text(TEXT),)))
    chat = [
        {"role": "system", "content": "Be  brief.\n"},
        {"role": "user", "content": [{"type": "text", "text": TEXT}]},
    ]
    asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    said = render(Document(turns), vocab=spoken(), see=lambda _: [], open_turn="model")
    assert list(asked) == said.ids.tolist()
    whole = Document((*turns, Turn("model", (Text(" Fox."),))))
    answered = [*chat, {"role": "assistant", "content": " Fox."}]
    told = tokenizer.apply_chat_template(answered, return_dict=False)
    assert list(told) == render(whole, vocab=spoken(), see=lambda _: []).ids.tolist()
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 1, 0)


@pytest.mark.parametrize("kind", ["gemma3", "gemma4"])
def test_its_processor_reads_a_chat_with_a_picture_as_we_do(kind: str, tmp_path: Path) -> None:
    transformers, pil = pytest.importorskip("transformers"), pytest.importorskip("PIL.Image")
    pytest.importorskip("torchvision")  # without it there are no processors of clips
    saved(kind, tmp_path / "hf")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    parts = [{"type": "text", "text": " Hi "}, {"type": "image"}, {"type": "text", "text": "you"}]
    chat = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "No?\n"},
    ]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    bare = text.removeprefix("<bos>")
    found = processor(text=bare, images=[pil.fromarray(pixels)], return_tensors="np")
    image: Any = seeing(kind)[1].image
    signal = cut_picture(pixels, config=image)
    asked = (Text(" Hi "), Media("image/png", b""), Text("you"))
    turns = Turn("user", asked), Turn("model", (Text("Yes."),)), Turn("user", (Text("No?\n"),))
    vocab = spoken_by(kind)
    ours = render(Document(turns), vocab=vocab, see=lambda _: [signal], open_turn="model")
    assert found["input_ids"][0].tolist() == ours.ids.tolist()
