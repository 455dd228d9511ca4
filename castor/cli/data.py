"""`castor data`: look at what a mixture really yields."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import Verbs, add_group, add_verb, count, data_flag, set_flag

if TYPE_CHECKING:
    from castor.core.content import Media
    from castor.tokens.render import Codes, Draw
    from castor.train.recipe import CodecRecipe, StoredCodec


def add(verbs: Verbs) -> None:
    """The verb's own verbs and their flags."""
    inner = add_group(verbs, "data", what="look at what a recipe learns from")
    verb = add_verb(
        inner,
        "show",
        show,
        what="write a page with what a recipe's mixture yields: media, text, and masks in colour",
    )
    verb.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a run's recipe.json")
    data_flag(verb)
    set_flag(verb)
    verb.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("mixture.html"),
        help="the page to write (default: mixture.html)",
    )
    verb.add_argument(
        "--count", metavar="N", type=count, default=4, help="documents of each source"
    )
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="which documents")


def show(arguments: argparse.Namespace) -> None:
    """Open the recipe's sources, make its vocabulary, and write the page.

    The codes of pictures are left blank: a codec is trained before a run, not to look at its data.
    """
    import tempfile
    from functools import partial

    from castor.cli.recipes import chosen
    from castor.core.files import write_atomic
    from castor.data.loader import Loader
    from castor.data.show import page
    from castor.models.modality import perceive
    from castor.train.prepare import vocabulary
    from castor.train.recipe import CodecRecipe, FineTune

    recipe = chosen(arguments.recipe, arguments.set)
    if isinstance(recipe, FineTune):
        raise ValueError(f"{recipe.name} goes on from a model; name a recipe that begins with none")
    if isinstance(recipe, CodecRecipe):
        raise ValueError(f"{recipe.name} learns from pictures alone; name the recipe of a model")

    with tempfile.TemporaryDirectory() as aside:
        vocab = vocabulary(recipe, data=arguments.data, out=Path(aside), codes=1)
    loader = Loader(
        recipe.mixture,
        data=arguments.data,
        vocab=vocab,
        see=partial(perceive, config=recipe.model),
        draw=None if recipe.codec is None else _blanks(recipe.codec),
        rows=recipe.rows,
        groups=recipe.groups,
        length=recipe.length,
        capacity=recipe.capacity,
        seed=arguments.seed,
        steps=recipe.steps,
    )
    html = page(loader, count=arguments.count, title=recipe.name)
    write_atomic(arguments.out, html.encode())
    print(f"wrote {arguments.out}: {len(recipe.mixture.parts)} sources")


def _blanks(codec: "CodecRecipe | StoredCodec") -> "Draw":
    """As many codes as the codec would make of a picture, without making them."""
    import numpy as np

    from castor.checkpoint import load_codec
    from castor.core.media import open_image
    from castor.train.recipe import CodecRecipe, stored

    made = isinstance(codec, CodecRecipe)
    patch = codec.model.patch if made else load_codec(stored(codec.path)).config.patch

    def draw(media: "Media") -> "Codes":
        height, width = open_image(media.data, media.mime).shape[:2]
        return np.zeros((height // patch, width // patch), np.int32)

    return draw
