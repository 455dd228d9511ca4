"""What a picture codec keeps of pictures that it has not seen, and how many codes it uses.

    python benchmarks/codec.py CHECKPOINT --data DIR [--sheet codec.png] [--json]

Unseen emoji and drawn scenes, and unseen photos where DIR has them, reduced to the side that the
codec is trained on. For each: the signal-to-noise ratio of a picture (mean over pictures; and of
the mean error, which is lower), how many codes occur, and their perplexity; with --json, also the
milliseconds that a picture takes. The sheet shows pictures above what the codec made of them.
CHECKPOINT is a checkpoint or a run. Nothing is compared.
"""

import argparse
import json
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from beside import conditions, spread
from jaxtyping import Int32, UInt8

from castor.checkpoint import load_codec
from castor.core.content import Media
from castor.core.media import open_image, png
from castor.data.images import Emoji
from castor.data.pixels import fit
from castor.data.playground import Playground
from castor.data.research import Flickr1k
from castor.models.image_codec import Codec, CodecConfig, decode_pictures, encode_pictures

ROWS = 32  # pictures coded at once
MOST = 400  # pictures of one set
SHOWN = 12  # of each set on the sheet
EDGE = 4  # white pixels between pictures of the sheet
ZOOM = 2
SEED = 0

Pixels = UInt8[np.ndarray, "n s s 3"]


class Coded(NamedTuple):
    """Pictures there and back."""

    back: Pixels
    codes: Int32[np.ndarray, "n h w"]
    encode_ms: list[float]  # for one picture, by each batch
    decode_ms: list[float]


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("checkpoint", type=Path)
    flags.add_argument("--data", type=Path, required=True)
    flags.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG file")
    flags.add_argument("--json", action="store_true")
    given = flags.parse_args()
    checkpoint = load_codec(given.checkpoint)
    codec, config = checkpoint.codec, checkpoint.config
    sets = unseen(given.data, config.side)
    coded = {name: there_and_back(codec, pixels, config=config) for name, pixels in sets.items()}
    rows = {name: numbers(sets[name], coded[name], config=config) for name in sets}
    everything = np.concatenate([each.codes.ravel() for each in coded.values()])
    record = {
        "what": "picture codec on unseen pictures",
        "checkpoint": str(given.checkpoint),
        "step": checkpoint.step,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(codec)),
        "patch": config.patch,
        "codes": config.codes,
        "codes_used": len(np.unique(everything)),
        "sets": rows,
        **conditions("jaxlib", "numpy", "pillow", seed=SEED),
    }
    print(json.dumps(record) if given.json else table(record))
    if given.sheet:
        given.sheet.write_bytes(png(sheet(sets, coded)))


def unseen(data: Path, side: int) -> dict[str, Pixels]:
    """Pictures of the evaluation splits by the name of their set."""
    scenes = Playground("draw").open(data, "eval")
    found = {
        "emoji": opened(Emoji("draw").open(data, "eval").pictures(), side),
        "scenes": opened(scenes.pictures(), side),
    }
    if (data / "image/flickr1k").is_dir():
        photos = Flickr1k(side=4 * side).open(data, "eval")
        chance = np.random.default_rng(SEED)  # of captions, which are not looked at
        documents = (photos.document(i, chance) for i in range(len(photos)))
        seen = (part for d in documents for part in d.turns[0].parts if isinstance(part, Media))
        found["photos"] = opened(seen, side)
    return found


def opened(media: Iterable[Media], side: int) -> Pixels:
    """The middle square of each picture, reduced to the side; smaller pictures are left out."""
    squares = []
    for medium in islice(media, MOST):
        pixels = open_image(medium.data, medium.mime)
        height, width = pixels.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = fit(pixels[top : top + edge, left : left + edge], side)
        if square.shape[0] == side:
            squares.append(square)
    return np.stack(squares)


def there_and_back(codec: Codec, pixels: Pixels, *, config: CodecConfig) -> Coded:
    """All pictures through the codec in batches of one size, timed."""
    encode = partial(encode_pictures, config=config)
    decode = partial(decode_pictures, config=config)
    backs, codes, encode_ms, decode_ms = [], [], [], []
    blank = np.zeros((ROWS, *pixels.shape[1:]), np.uint8)
    jax.block_until_ready(decode(codec, np.asarray(encode(codec, blank))))  # compiles
    for start in range(0, len(pixels), ROWS):
        group = pixels[start : start + ROWS]
        full = np.zeros((ROWS, *pixels.shape[1:]), np.uint8)
        full[: len(group)] = group
        began = time.perf_counter()
        ids = np.asarray(encode(codec, full))
        encoded = time.perf_counter()
        back = np.asarray(decode(codec, ids))
        decode_ms.append(1e3 * (time.perf_counter() - encoded) / ROWS)
        encode_ms.append(1e3 * (encoded - began) / ROWS)
        backs.append(back[: len(group)])
        codes.append(ids[: len(group)])
    return Coded(np.concatenate(backs), np.concatenate(codes), encode_ms, decode_ms)


def numbers(pixels: Pixels, coded: Coded, *, config: CodecConfig) -> dict[str, object]:
    """What is printed about one set."""
    difference = coded.back.astype(np.float64) - pixels
    errors = np.maximum((difference**2).mean((1, 2, 3)), 1e-3)
    counts = np.bincount(coded.codes.ravel(), minlength=config.codes)
    shares = counts[counts > 0] / counts.sum()
    return {
        "pictures": len(pixels),
        "psnr_db": round(float((10 * np.log10(255**2 / errors)).mean()), 2),
        "psnr_of_mean_error_db": round(float(10 * np.log10(255**2 / errors.mean())), 2),
        "codes_used": int((counts > 0).sum()),
        "perplexity": round(float(np.exp(-(shares * np.log(shares)).sum())), 1),
        "encode_ms": spread(coded.encode_ms, digits=2),
        "decode_ms": spread(coded.decode_ms, digits=2),
    }


def table(record: dict) -> str:
    """The record for a reader."""
    heads = ("pictures", "psnr_db", "psnr_of_mean_error_db", "codes_used", "perplexity")
    titles = ("set", "pictures", "PSNR dB", "of mean error", "codes used", "perplexity")
    lines = [" ".join(f"{title:>13}" for title in titles)]
    for name, row in record["sets"].items():
        lines.append(" ".join(f"{value:>13}" for value in (name, *(row[head] for head in heads))))
    share = record["codes_used"] / record["codes"]
    lines.append(f"{record['codes_used']} of {record['codes']} codes used in all ({share:.1%})")
    beside = record["machine"] | record["versions"] | {"seed": record["seed"]}
    lines.append(", ".join(f"{name} {value}" for name, value in beside.items()))
    return "\n".join(lines)


def sheet(sets: dict[str, Pixels], coded: dict[str, Coded]) -> UInt8[np.ndarray, "h w 3"]:
    """Some of each set, evenly chosen, above what the codec made of them."""
    bands = []
    for name, pixels in sets.items():
        chosen = np.linspace(0, len(pixels) - 1, SHOWN).astype(int)
        for stack in (pixels[chosen], coded[name].back[chosen]):
            framed = np.pad(stack, ((0, 0), (0, EDGE), (0, EDGE), (0, 0)), constant_values=255)
            bands.append(np.concatenate(list(framed), axis=1))
    return np.concatenate(bands).repeat(ZOOM, 0).repeat(ZOOM, 1)


if __name__ == "__main__":
    main()
