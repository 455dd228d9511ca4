"""`castor show`: the numbers behind a name: a recipe, a part of one, a size, a checkpoint."""

import argparse
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from castor.cli import show_mesh
from castor.cli.flags import Verbs, add_verb, set_flag

if TYPE_CHECKING:
    from castor.data.mixture import Mixture
    from castor.models.image_codec import CodecConfig
    from castor.models.sizes import ModelConfig
    from castor.train.recipe import AnyRecipe

MORE = """\
WHAT is a recipe (tiny, demo, codec), a size (TINY, MINI, DEMO, NANO_1), a recipe.json, a run or a
checkpoint. FIELD is a part of a recipe, such as mixture or codec.optimizer."""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs, "show", run, what="print the values of a recipe, a size or a checkpoint", more=MORE
    )
    verb.add_argument("what", metavar="WHAT", help="the name or the path")
    verb.add_argument("field", metavar="FIELD", nargs="?", help="show this part of a recipe alone")
    set_flag(verb)
    verb.add_argument("--tree", action="store_true", help="every weight with its shape")
    show_mesh.add_flags(verb)
    verb.add_argument("--json", action="store_true", help="print JSON, without mixture and tree")


def run(arguments: argparse.Namespace) -> None:
    """Find what is meant, and print it.

    Raises:
        ValueError: nothing has that name, or --set is given for what is no recipe.
    """
    from castor.checkpoint import newest
    from castor.cli.recipes import chosen, sizes

    what = arguments.what
    size, folder = sizes().get(what), newest(Path(what))
    if arguments.set and (size or folder):
        kind = "a size" if size else "a checkpoint"
        raise ValueError(f"--set changes a recipe, and {what} is {kind}; leave --set out")
    how = {"tree": arguments.tree, "mesh": show_mesh.asked(arguments, sized=bool(size or folder))}
    if arguments.field:
        if arguments.json:
            raise ValueError("--json prints a whole recipe or size; leave FIELD out")
        show_field(size or chosen(str(folder or what), arguments.set), arguments.field)
    elif arguments.json:
        settings = size or (config_in(folder) if folder else chosen(what, arguments.set))
        print(json.dumps(record(what, settings, mesh=how["mesh"]), indent=1))
    elif size:
        show_values(size)
        show_weights(size, **how)
    elif folder:
        show_checkpoint(folder, **how)
    else:
        show_recipe(chosen(what, arguments.set), **how)


def record(what: str, settings: Any, *, mesh: "show_mesh.Asked | None") -> dict[str, Any]:
    """Values and numbers of weights, and what a mesh takes, for programs to read."""
    from math import prod

    from castor.cli.weights import grouped, shapes_of
    from castor.core.recipe import flat
    from castor.models.lora import Lora
    from castor.train.recipe import CodecRecipe, FineTune, Recipe

    found = {"what": what, "kind": type(settings).__name__, "values": flat(settings)}
    if isinstance(settings, FineTune | Lora):
        return found
    run: Recipe | CodecRecipe | None = None
    config: Any = settings
    if isinstance(settings, Recipe | CodecRecipe):
        run, config = settings, settings.model
    shapes = shapes_of(config)
    found["weights"] = {"count": sum(map(prod, shapes.values())), "groups": grouped(shapes)}
    if mesh is not None:
        found["mesh"] = show_mesh.of_mesh(config, mesh, run=run)
    return found


def config_in(folder: Path) -> Any:
    """The shape of a checkpoint, or the settings of adapters."""
    from castor.checkpoint import load, load_adapters, load_codec

    if (folder / "adapters.safetensors").exists():
        return load_adapters(folder).origin.lora
    whole = (folder / "weights.safetensors").exists()
    return (load(folder) if whole else load_codec(folder)).config


def show_recipe(recipe: "AnyRecipe", *, tree: bool, mesh: "show_mesh.Asked | None") -> None:
    """Values, mixture and weights; a model's codec is told in a line."""
    from castor.cli.screen import in_words
    from castor.train.recipe import CodecRecipe, FineTune, Recipe, name_of

    show_values(recipe, leave_out=("mixture.", "codec."))
    show_mixture(recipe.mixture)
    if not isinstance(recipe, FineTune):
        show_weights(recipe.model, tree=tree, mesh=mesh, run=recipe)
    tokens = " pictures" if isinstance(recipe, CodecRecipe) else f" of {recipe.length} tokens"
    print(f"\n{recipe.steps:,} steps of {recipe.rows} rows{tokens}", end="")
    if isinstance(recipe, Recipe):
        print(f", {in_words(recipe.steps * recipe.rows * recipe.length)} tokens in all", end="")
        if isinstance(recipe.codec, CodecRecipe):
            print(f", after {recipe.codec.steps:,} steps of the codec {recipe.codec.name}", end="")
    print(f"; digest {name_of(recipe)}")


def show_field(settings: "AnyRecipe | ModelConfig", path: str) -> None:
    """One part of a recipe or a size.

    Raises:
        ValueError: it has no such part.
    """
    from castor.core.recipe import pretty
    from castor.data.mixture import Mixture

    value: Any = settings
    place = type(settings).__name__
    for name in path.split("."):
        known = members(value)
        if name not in known:
            names = f"0 to {len(value) - 1}" if isinstance(value, tuple) else ", ".join(known)
            there = f"it has {names}" if known else f"it is {value}"
            raise ValueError(f"{place} has nothing at {name!r}; {there}")
        value, place = known[name], f"{place}.{name}"
    if isinstance(value, Mixture):
        show_mixture(value)
    else:
        print(pretty(value) if is_dataclass(value) else value)


def members(value: Any) -> dict[str, Any]:
    """What --set would name within a value: fields, numbers of a tuple, keys of a dict."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, tuple):
        return {str(number): member for number, member in enumerate(value)}
    return value if isinstance(value, dict) else {}


def show_checkpoint(folder: Path, *, tree: bool, mesh: "show_mesh.Asked | None") -> None:
    """Where it comes from, what is in it, and its weights."""
    from castor.checkpoint import load, load_codec
    from castor.cli.screen import in_bytes

    if (folder / "adapters.safetensors").exists():
        show_adapters(folder)
        return
    found = load(folder) if (folder / "weights.safetensors").exists() else load_codec(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    loss = "" if found.loss is None else f", held-out loss {found.loss:.4f}"
    name = found.recipe.get("name", "no recipe")
    print(f"{folder}: {name}, step {found.step:,}{loss}, {in_bytes(size)}, whole")
    show_values(found.config)
    show_weights(found.config, tree=tree, mesh=mesh)
    if isinstance(found.codec, tuple):
        print("\npicture codec")
        show_weights(found.codec[1], tree=tree, mesh=mesh)
    if (vocab := getattr(found, "vocab", None)) is not None:
        texts, codes = f"{vocab.text_size:,} text ids", f"{len(vocab.codes):,} picture codes"
        print(f"\nvocabulary {vocab.digest}: {texts}, {codes}")


def show_adapters(folder: Path) -> None:
    """What adapters are for, and which weights they stand beside."""
    from castor.checkpoint import load_adapters

    found = load_adapters(folder)
    origin, count = found.origin, sum(len(pairs) for pairs in found.adapters)
    loss = "" if found.loss is None else f", held-out loss {found.loss:.4f}"
    print(f"{folder}: {found.recipe.get('name', 'no recipe')}, step {found.step:,}{loss}, whole")
    print(f"adapters of {count} stacked weights of {origin.start} ({origin.digest})")
    show_values(origin.lora)


def show_values(settings: Any, *, leave_out: tuple[str, ...] = ()) -> None:
    """Every value under the name that --set takes."""
    from castor.cli.screen import table
    from castor.core.recipe import flat

    values = {k: v for k, v in flat(settings).items() if not k.startswith(leave_out)}
    table((type(settings).__name__, "value"), [(k, str(v)) for k, v in values.items()])


def show_mixture(mixture: "Mixture") -> None:
    """Each part with its share of the tokens and its emphasis, by stage."""
    from castor.cli.screen import table

    spans = mixture.spans(1000)
    heads = [
        head
        for span in spans
        for head in ("share" if len(spans) == 1 else f"until {span.end / 1000:.0%}", "emphasis")
    ]
    rows = [
        (
            part.source.name,
            *(cell for s in spans for cell in (f"{s.shares[i]:.1%}", f"{s.emphases[i]:g}")),
        )
        for i, part in enumerate(mixture.parts)
    ]
    print()
    table((f"mixture, by {mixture.balance}", *heads), rows)


def show_weights(
    config: "ModelConfig | CodecConfig",
    *,
    tree: bool,
    mesh: "show_mesh.Asked | None",
    run: "AnyRecipe | None" = None,
) -> None:
    """How many weights there are and where, what they take, and the arithmetic of one token."""
    from math import prod

    from castor.cli.screen import in_bytes, in_words, table
    from castor.cli.weights import flops_per_token, grouped, shapes_of
    from castor.models.sizes import ModelConfig

    shapes = shapes_of(config)
    total = sum(map(prod, shapes.values()))
    print()
    if tree:
        real = {name: shape for name, shape in shapes.items() if prod(shape)}
        rows = [(name, str(list(shape)), f"{prod(shape):,}") for name, shape in real.items()]
        table(("weights", "shape", "count"), rows)
    else:
        counts = grouped(shapes).items()
        table(("weights", "count", "share"), [(n, f"{c:,}", f"{c / total:.1%}") for n, c in counts])
    print(
        f"\n{in_words(total)} weights: {in_bytes(2 * total)} in bfloat16, "
        f"{in_bytes(4 * total)} in float32"
    )
    if mesh is not None:
        show_mesh.show_mesh(show_mesh.of_mesh(config, mesh, run=run))
    if isinstance(config, ModelConfig):
        length = min(config.context, 1024)
        work = flops_per_token(config, length=length)
        print(
            f"{in_words(work)} floating-point operations for a token in a row of {length:,}, "
            f"{in_words(3 * work)} to learn from it"
        )
