"""A contact sheet of emoji that a model drew from their names, chosen by chance and not by hand.

    python benchmarks/emoji_sheet.py --data DIR [--model RUN] [--out docs/emoji.png] [--seed 0]

The upper rows are names that it learned from, the lower ones names that it never met. Each picture
is the first that was drawn, as `castor eval emoji_draw` draws. Prints what it was made with.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from beside import conditions
from matplotlib.figure import Figure
from PIL import Image

from castor.cli.answering import SHIPPED, load_engine
from castor.core.content import Document, Media, Text
from castor.core.media import open_image
from castor.data.images import Emoji
from castor.data.source import Split
from castor.evals.protocols import DRAWING
from castor.sample.engine import Engine

ACROSS = 10
ROWS: dict[Split, int] = {"train": 4, "eval": 2}
TITLES: dict[Split, str] = {"train": "names it learned from", "eval": "names it never met"}
LETTERS = 15  # of a line of a name


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--data", type=Path, required=True)
    flags.add_argument("--model", type=Path, help="a run or checkpoint (default: the shipped one)")
    flags.add_argument("--out", type=Path, default=Path("docs/emoji.png"))
    flags.add_argument("--seed", type=int, default=0)
    given = flags.parse_args()
    found, engine = load_engine(given.model)
    figure = Figure(figsize=(ACROSS, 1.3 * sum(ROWS.values()) + 0.6), dpi=110, layout="constrained")
    heights = list(ROWS.values())
    parts = figure.subfigures(len(ROWS), 1, height_ratios=heights, squeeze=False).flat
    for part, (split, rows) in zip(parts, ROWS.items(), strict=True):
        names = chosen(given.data, split, rows * ACROSS, seed=given.seed)
        part.suptitle(TITLES[split], fontsize=9, color="#666666")
        for axes, name, pixels in zip(
            part.subplots(rows, ACROSS).flat, names, drawn(engine, names), strict=True
        ):
            axes.imshow(pixels)
            axes.set_title(wrapped(name), fontsize=5, y=-0.06, va="top")
            axes.set_axis_off()
    page = io.BytesIO()
    figure.savefig(page, format="png")
    Image.open(page).convert("RGB").quantize(256).save(given.out, optimize=True)
    record = {
        "what": str(given.out),
        "model": str(given.model or SHIPPED.name),
        "step": found.step,
        "sampling": {k: getattr(DRAWING, k) for k in ("temperature", "top_p", "guidance")},
        **conditions("jaxlib", seed=given.seed),
    }
    print(json.dumps(record, indent=1))


def chosen(data: Path, split: Split, count: int, *, seed: int) -> list[str]:
    """Names of emoji of a split, drawn by the seed."""
    source = Emoji("name").open(data, split)
    rng = np.random.default_rng(seed)
    places = rng.choice(len(source), count, replace=False).tolist()
    answers = (source.document(place, rng).turns[-1].parts[0] for place in places)
    return [answer.text for answer in answers if isinstance(answer, Text)]


def drawn(engine: Engine, names: list[str]) -> list[np.ndarray]:
    """The picture that the model draws for each name."""
    asked = [Document.of(Emoji.asks["draw"][0].format(name)) for name in names]
    replies = engine.reply(asked, DRAWING)
    pictures = ([p for p in reply.turn.parts if isinstance(p, Media)] for reply in replies)
    return [open_image(found.data, found.mime) for (found,) in pictures]


def wrapped(name: str) -> str:
    """A name in lines that stand under a picture."""
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= LETTERS else [*lines, word]
    return "\n".join(lines[:3])


if __name__ == "__main__":
    main()
