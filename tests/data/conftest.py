"""A small data folder in the published layout, made of noise and drawn things, and a vocabulary."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from castor.core.batch import Signal
from castor.core.content import Media
from castor.core.media import wav
from castor.data.loader import See
from castor.models.modality import perceive
from castor.models.sizes import AudioConfig, ImageConfig, ModelConfig
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab

READER = ModelConfig(
    layers=1,
    width=8,
    hidden=8,
    heads=1,
    head_width=8,
    image=ImageConfig(least=4, slots=16, frame_slots=4),
    audio=AudioConfig(mels=16),
)
QUESTIONS = [
    ["what color is the shape?", "red"],
    ["what shape is present?", "circle"],
    ["is there a red shape?", "yes"],
    ["what is the red shape?", "circle"],
]
SAMPLE = "The quick brown fox jumps over 0123456789 lazy dogs, and Emoji Which What? "


def write_index(folder: Path, records: list[dict[str, Any]]) -> None:
    """The index of a folder, one record a line."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "index.jsonl").write_text(text)


def _split(number: int) -> str:
    return "eval" if number % 4 == 3 else "train"


def _png(path: Path, rng: np.random.Generator, *, size: tuple[int, int], alpha: bool) -> bytes:
    pixels = rng.integers(0, 255, (size[1], size[0], 4 if alpha else 3), np.uint8)
    if alpha:
        pixels[..., 3] = 255
        pixels[: size[1] // 4, :, 3] = 0
    Image.fromarray(pixels).save(path, "PNG")
    return path.read_bytes()


def _pictures(
    folder: Path, fields: Callable[[int], dict[str, Any]], *, size: tuple[int, int], alpha: bool
) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(folder.name))
    records, media = [], b""
    for i in range(12):
        picture = _png(folder / "one.png", rng, size=size, alpha=alpha)
        place = {"file": "media.bin", "offset": len(media), "length": len(picture)}
        records.append({**place, **fields(i), "split": _split(i)})
        media += picture
    (folder / "one.png").unlink()
    (folder / "media.bin").write_bytes(media)
    write_index(folder, records)


def _sounds(folder: Path, fields: Callable[[int], dict[str, Any]], *, seconds: float) -> None:
    folder.mkdir(parents=True)
    records = []
    for i in range(8):
        time = np.arange(int(16_000 * seconds)) / 16_000
        tone = 0.5 * np.sin(2 * np.pi * (300 + 100 * i) * time)
        (folder / f"{i}.wav").write_bytes(wav(tone.astype(np.float32)))
        records.append({"file": f"{i}.wav", **fields(i), "split": _split(i)})
    write_index(folder, records)


def _clips(folder: Path) -> None:
    records = []
    rng = np.random.default_rng(5)
    for i in range(4):
        place = folder / f"scene{i}"
        place.mkdir(parents=True)
        for k in range(3):
            Image.fromarray(rng.integers(0, 255, (36, 64, 3), np.uint8)).save(place / f"{k}.jpg")
        frames = [f"scene{i}/{k}.jpg" for k in range(3)]
        records.append({"frames": frames, "title": f"scene {i}", "split": _split(i)})
    write_index(folder, records)


def _texts(corpus: Path) -> None:
    paragraphs = "\n\n".join(f"Paragraph {i}: {SAMPLE * 4}" for i in range(150))
    files = {
        "books/Jane_Austen__Emma.md": paragraphs,
        "books/Mark_Twain__Letters.md": paragraphs.upper(),
        "books/Bram_Stoker__Dracula.md": paragraphs.lower(),
        "bibles/Zulu-NT.tsv": "".join(f"b.MAT.1.{i}\tuJuda {i} {SAMPLE}\n" for i in range(400)),
        "nltk/inaugural/1789-Washington.txt": paragraphs,
        "nltk/genesis/finnish.txt": paragraphs,
        "nltk/udhr2/eng.txt": paragraphs,
        "tinyshakespeare.txt": paragraphs,
        "wiki/wikitext.txt": paragraphs,
        "wiki/c4.jsonl": "".join(json.dumps({"text": f"{i} {SAMPLE}"}) + "\n" for i in range(40)),
        "chinese_poetry/song.json": json.dumps(
            [
                {"author": "韩绛", "rhythmic": f"{i}", "paragraphs": ["嵩峤云高，"]}
                for i in range(40)
            ]
        ),
    }
    for name, text in files.items():
        path = corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    latin = corpus / "nltk/genesis/german.txt"
    latin.write_bytes(
        ("Im Anfang schuf Gott die Himmel und die Erde, größer. " * 90).encode("latin-1")
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; tests must not write to it."""
    root = tmp_path_factory.mktemp("data")
    _pictures(
        root / "image/noto_emoji",
        lambda i: {"id": f"e{i}", "caption": f"emoji {i}"},
        size=(24, 24),
        alpha=True,
    )
    _pictures(
        root / "image/easy_vqa", lambda i: {"id": i, "qa": QUESTIONS}, size=(16, 16), alpha=False
    )
    _pictures(
        root / "image/nlvr",
        lambda i: {"id": f"n{i}", "sentence": f"There is box {i}.", "label": "true"},
        size=(40, 10),
        alpha=True,
    )
    _pictures(
        root / "image/omniglot",
        lambda i: {
            "alphabet": "Early_Aramaic",
            "strokes": [[[20, 20, 0], [80, 20 + i, 9]], [[20, 90, 20], [90, 90, 30]]][: 1 + i % 2],
        },
        size=(21, 21),
        alpha=False,
    )
    _pictures(
        root / "image/cifar10",
        lambda i: {"id": f"c{i}", "label": ("cat", "dog")[i % 2]},
        size=(16, 16),
        alpha=False,
    )
    _sounds(root / "audio/fsdd", lambda i: {"digit": i}, seconds=0.3)
    _sounds(root / "audio/esc10", lambda i: {"label": f"noise {i}"}, seconds=0.6)
    _sounds(root / "audio/read_speech", lambda i: {"text": f"Sentence {i}."}, seconds=0.4)
    _clips(root / "video/clips")
    _texts(root / "text_corpus")
    return root


@pytest.fixture(scope="session")
def vocab() -> Vocab:
    return learn([SAMPLE * 20], size=400, codes=16)


@pytest.fixture(scope="session")
def see() -> See:
    return partial(perceive, config=READER)


class Glance:
    """Sees media without opening them: a few empty slots for each, in no time."""

    SLOTS: ClassVar = {"image": ("image", 4), "audio": ("audio", 6)}

    def __call__(
        self,
        media: Media,
        *,
        budget: int | None,
        augment: Callable[[str, np.ndarray], np.ndarray] | None,
    ) -> Sequence[str | Signal]:
        kind, count = self.SLOTS.get(media.mime.split("/")[0], ("image", 8))
        values = np.zeros((count, 7, 8), np.float16)
        signal = Signal(kind, values, np.zeros((count, 2), np.int32))
        return ["0.0", signal] if media.mime.startswith("video/") else [signal]


@pytest.fixture(scope="session")
def glance() -> See:
    return Glance()
