"""A model's card: what it is, how it was made and what it scored, from the records of its run."""

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from castor.checkpoint import Checkpoint
from castor.cli.answering import SHIPPED
from castor.cli.machine import MACHINE
from castor.core.files import write_atomic
from castor.core.recipe import flat, from_json
from castor.data.sources import RESEARCH, licence
from castor.evals.report import from_json as outcomes_of
from castor.evals.report import markdown
from castor.models.lora import Lora
from castor.models.quant import weight_count
from castor.recipes import RECIPES
from castor.train.loop import METRICS
from castor.train.metrics import read
from castor.train.recipe import FREE, CodecRecipe, FineTune, Recipe, name_of

NAME = "README.md"
BEGIN, END = "<!-- results: begin (castor export) -->", "<!-- results: end -->"
LIMITS = """\
## What it is good for, and what not

It shows every part of Castor at work at a size that a laptop runs with ease: questions like those
of its sources, in their wordings. It knows nothing of the world beyond them, it is no assistant,
it was not made safe, and what it says outside of its tasks means nothing. Names of emoji that show
people carry the choices of those who named them."""
TUNED = """\
## What it is good for, and what not

Nothing was measured beyond what stands here. What the model that it began with may be used for, it
may be used for too, and no more; learning from documents may have cost it what it knew before, and
what kept it safe."""


def card(found: Checkpoint, *, run: Path, scores: Path | None) -> str:
    """The card of a checkpoint as Markdown; `run` is where its metrics are, `scores` what
    `castor eval --json` printed.

    Raises:
        ValueError: the checkpoint is not from a recipe, or the scores are not such a file.
    """
    recipe = from_json(FineTune if "tuning" in found.recipe else Recipe, found.recipe)
    sections = [_model(found, recipe), _training(recipe, run), _sources(recipe)]
    if scores is not None:
        sections.append(_scores(scores, run))
    limits = TUNED if isinstance(recipe, FineTune) else LIMITS
    return "\n\n".join([*sections, limits]) + "\n"


def filled(page: str, text: str) -> str:
    """A page with the results of a card between its own marks.

    Raises:
        ValueError: one of them has no such marks.
    """
    (before, after), (_, results) = page.split(BEGIN), text.split(BEGIN)
    return f"{before}{BEGIN}{results.split(END)[0]}{END}{after.split(END)[1]}"


def _model(found: Checkpoint, recipe: Recipe | FineTune) -> str:
    config, weights = found.config, _millions(weight_count(found.model))
    says = "text" if found.codec is None else "text and pictures"
    drawn = (
        ""
        if found.codec is None
        else f", and {_millions(weight_count(found.codec[0]))} of its codec"
    )
    reads = "pictures, sound, clips and text" if {*found.model.encoders} else "text"
    return (
        f"# {recipe.name}\n\n"
        f"A decoder with {weights} weights{drawn}: {reads} in, "
        f"{says} out. {config.layers} layers of width {config.width}, {config.vocab:,} ids, "
        f"{config.context} positions."
    )


def _training(recipe: Recipe | FineTune, run: Path) -> str:
    rows = [("recipe", f"`{recipe.name}`, digest `{name_of(recipe)}`, seed {recipe.seed}")]
    if isinstance(recipe, FineTune):
        learned = "all weights"
        if isinstance(recipe.tuning, Lora):
            learned = f"adapters of rank {recipe.tuning.rank}, added to it"
        rows += [("began with", f"`{recipe.start}`"), ("learned", learned)]
    elif isinstance(recipe.codec, CodecRecipe):
        steps = f"{recipe.codec.steps:,} steps of {recipe.codec.rows} pictures"
        rows.append(("codec", ", ".join(filter(None, (steps, _spent(run / "codec"))))))
    steps = f"{recipe.steps:,} steps of {recipe.rows * recipe.length:,} tokens"
    rows.append(("model", ", ".join(filter(None, (steps, _spent(run))))))
    rows.append(("again", f"`castor train {_again(recipe)} --data DIR --out RUN`"))
    return "## How it was made\n\n" + _table(("", ""), rows)


def _again(recipe: Recipe | FineTune) -> str:
    """What `castor train` is told: the recipe's name and what was set, or the file beside the card
    if that does not say it all."""
    plain = RECIPES.get(recipe.name)
    if isinstance(recipe, FineTune):
        return "recipe.json"
    now, then = flat(plain, leave_out=FREE), flat(recipe, leave_out=FREE)
    if now.keys() != then.keys():
        return "recipe.json"
    changed = [f" --set {path}={_text(then[path])}" for path in then if then[path] != now[path]]
    return recipe.name + "".join(changed)


def _text(value: Any) -> str:
    """A scalar, or a tuple of them, as --set takes it from a shell."""
    if value is None:
        return "none"
    return shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _sources(recipe: Recipe | FineTune) -> str:
    """What each part's share was, on average over the stages of the run."""
    shares, begun = np.zeros(len(recipe.mixture.parts)), 0
    for end, held, _ in recipe.mixture.spans(recipe.steps):
        shares += (end - begun) / recipe.steps * np.array(held)
        begun = end
    sources = [part.source for part in recipe.mixture.parts]
    rows = [
        (sources[i].name, f"{100 * shares[i]:.1f} %", licence(sources[i]))
        for i in np.argsort(-shares, kind="stable")
    ]
    closed = [row[0] for row in rows if row[2] == RESEARCH]
    warning = f"\n\n**Not to be shipped**: {', '.join(closed)} may be used for research only."
    table = _table(("source", "share of tokens", "licence"), rows)
    return (
        "## What it learned from\n\nWhere each source comes from is in `docs/data.md`.\n\n"
        f"{table}{warning if closed else ''}"
    )


def _scores(path: Path, run: Path) -> str:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        outcomes = outcomes_of(record)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `castor eval --json` prints: {error}") from None
    trained = f"Trained: {spent}. " if (spent := _spent(run)) else ""
    return (
        f"## What it scores\n\n{BEGIN}\n{trained}Scored: {_machine(record)}, seed "
        f"{record['seed']}.\n\n{markdown(outcomes)}{END}"
    )


def _spent(run: Path) -> str:
    """How long the steps of a run took, and on what, as far as its records tell."""
    seconds = sum(line.get("seconds") or 0.0 for line in read(run / METRICS))
    words = [f"{seconds / 60:.0f} minutes"] if seconds else []
    if (run / MACHINE).exists():
        words.append(f"on {_machine(json.loads((run / MACHINE).read_text()))}")
    return " ".join(words)


def _machine(record: dict[str, Any]) -> str:
    devices = "" if record["devices"] == "1 x cpu" else f", {record['devices']}"
    return f"{record['processor']}, {record['cores']} cores{devices}, jax {record['jax']}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} million"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        shown = filled(path.read_text(encoding="utf-8"), (SHIPPED / NAME).read_text("utf-8"))
        write_atomic(path, shown.encode())
