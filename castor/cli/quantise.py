"""`castor quantise`: a model's weights in 4 or 8 bits, and what that costs."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from castor.cli.flags import Verbs, add_verb, count_from_one, share

if TYPE_CHECKING:
    from castor.checkpoint import Checkpoint
    from castor.models.decoder import Model
    from castor.models.quant import Formats, Lost

MORE = """\
Weights are rounded in groups of 32 that share a scale. --calibrate rounds by what goes into each
product; --qat trains the rounded model to say what the float one says. Both read the sources that
the model learned from or, where those are not known, .jsonl files of documents; --labels lets it
learn from those as well. The picture codec is kept as float16."""
OTHERS = {  # weights that may have a format of their own
    "embedding": "tables of ids",
    "encoders": "what reads signals",
    "keys": "what makes keys and values",
}
CALIBRATED = 16  # batches of 8 rows [ours]


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "quantise", run, what="keep a model's weights in 4 or 8 bits", more=MORE)
    verb.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        type=Path,
        help="a checkpoint, a run of `castor train`, a Hugging Face folder or a model that was "
        "pulled (default: the weights shipped with Castor)",
    )
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder to write")
    verb.add_argument(
        "--format",
        choices=("int4", "int8"),
        default="int4",
        help="bits of a weight (default: int4)",
    )
    verb.add_argument("--asymmetric", action="store_true", help="a zero point for each group too")
    for name, what in OTHERS.items():
        verb.add_argument(
            f"--{name}", choices=("int4", "int8"), help=f"bits of {what}, if they are others"
        )
    verb.add_argument(
        "--calibrate", metavar="DATA", type=Path, help="round by the inputs that this folder gives"
    )
    verb.add_argument(
        "--qat", metavar="STEPS", type=count_from_one, help="train the rounded model; needs --data"
    )
    verb.add_argument(
        "--labels",
        metavar="SHARE",
        type=share,
        help="of what --qat learns, the share that the data says and not the float model "
        "(default: none)",
    )
    verb.add_argument("--data", metavar="DATA", type=Path, help="the data of --qat and --eval")
    verb.add_argument(
        "--eval", metavar="BENCH", nargs="+", default=[], help="measure both models on these"
    )
    verb.add_argument(
        "--limit", metavar="N", type=count_from_one, help="at most N problems of each benchmark"
    )
    verb.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    """Quantise, measure, write, and print what it cost.

    Raises:
        ValueError: there is no such model, it is quantised already, or what was asked for needs
            data that is not there.
    """
    from castor.checkpoint import WEIGHTS, write
    from castor.cli.answering import SHIPPED
    from castor.cli.screen import progress
    from castor.models.quant import errors, weight_count

    found = _opened(arguments, shipped=SHIPPED)
    formats = _formats(arguments)
    with progress("rounding") as report:
        model = _rounded(arguments, found, formats=formats, report=report)
    lost = errors(found.model, model)
    after = replace(found, model=model)
    compared = _compared(arguments, found, after) if arguments.eval else []
    write(arguments.out, after, precision="float16")
    size = (arguments.out / WEIGHTS).stat().st_size
    told = {
        "format": str(formats.layers),
        **{name: str(getattr(formats, name) or formats.layers) for name in OTHERS},
        "bytes": size,
        "bytes_per_weight": size / weight_count(found.model),
        "errors": [{**one._asdict(), "format": str(one.format)} for one in lost],
        "benchmarks": compared,
    }
    if arguments.json:
        print(json.dumps(told, indent=1))
    else:
        _show(told, lost, out=arguments.out)


def _formats(arguments: argparse.Namespace) -> "Formats":
    from castor.models.quant import Format, Formats

    def named(name: str | None) -> Format | None:
        return None if name is None else Format(int(name[3:]), not arguments.asymmetric)

    layers = Format(int(arguments.format[3:]), not arguments.asymmetric)
    return Formats(layers, **{name: named(getattr(arguments, name)) for name in OTHERS})


def _opened(arguments: argparse.Namespace, *, shipped: Path) -> "Checkpoint":
    from castor.checkpoint import CODEC, HEAD, RECIPE, VOCAB, WEIGHTS
    from castor.cli.places import located
    from castor.evals.suite import SUITE
    from castor.interop.folder import is_published, open_model
    from castor.models.quant import formats

    if arguments.qat is not None and arguments.data is None:
        raise ValueError("--qat learns from data; name its folder with --data")
    if arguments.labels is not None and arguments.qat is None:
        raise ValueError("--labels is a share of what --qat learns; give --qat STEPS as well")
    if arguments.eval and arguments.data is None:
        raise ValueError("--eval measures on held-out data; name its folder with --data")
    if unknown := [name for name in arguments.eval if name not in SUITE]:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; there is {', '.join(SUITE)}")
    for folder in filter(None, (arguments.calibrate, arguments.data)):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    parts, out = {HEAD, WEIGHTS, CODEC, VOCAB, RECIPE}, arguments.out
    if out.is_file():
        raise ValueError(f"{out} is a file; name a folder")
    if others := sorted({file.name for file in out.glob("*")} - parts):
        raise ValueError(f"{out} holds {others[0]}, which is no part of a model; name another")
    path = located(arguments.model or shipped)
    found = open_model(path, dtype=None if is_published(path) else "float32")
    if kinds := formats(found.model):
        raise ValueError(f"the weights are {', '.join(kinds)} already; start from the float model")
    return found


def _rounded(
    arguments: argparse.Namespace,
    found: "Checkpoint",
    *,
    formats: "Formats",
    report: Callable[[str, int, int], None],
) -> "Model":
    from castor.models.quant import densed, quantise
    from castor.train.calibrate import batches_of, calibrated, moments
    from castor.train.qat import tuned

    begin = model = None
    with TemporaryDirectory() as aside:

        def batches(data: Path, steps: int, what: str) -> Iterator[Any]:
            report(f"{what}: reading", 0, steps)
            made = batches_of(found, data=data, aside=Path(aside), steps=steps)
            for done, batch in enumerate(made):
                report(what, done, steps)
                yield batch

        if arguments.calibrate is not None:
            seen = batches(arguments.calibrate, CALIBRATED, "inputs")
            inputs = moments(found.model, seen, config=found.config)
            model = calibrated(found.model, inputs, formats=formats, report=report)
            begin = densed(model)
        if arguments.qat is not None:
            seen = batches(arguments.data, arguments.qat, "training")
            learned = tuned(
                found.model,
                seen,
                config=found.config,
                steps=arguments.qat,
                begin=begin,
                formats=formats,
                labels=arguments.labels or 0.0,
                report=lambda done, nats: report(
                    f"training: {nats:.4f} nats an id to learn", done, arguments.qat
                ),
            )
            model = quantise(learned, formats=formats)
    return quantise(found.model, formats=formats) if model is None else model


def _compared(
    arguments: argparse.Namespace, before: "Checkpoint", after: "Checkpoint"
) -> list[dict[str, Any]]:
    """Scores of both models, without controls."""
    from castor.cli.screen import progress
    from castor.evals.run import run as measure
    from castor.evals.suite import SUITE
    from castor.sample.engine import Engine

    scores: list[list[float]] = []
    for found in (before, after):
        engine = Engine(found.model, config=found.config, vocab=found.vocab, codec=found.codec)
        with progress("measuring") as report:
            scores.append(
                [
                    measure(
                        engine,
                        replace(SUITE[name], controls=False),
                        data=arguments.data,
                        limit=arguments.limit,
                        report=report,
                    ).score.value
                    for name in arguments.eval
                ]
            )
    return [
        {"name": name, "unit": SUITE[name].unit, "float": old, "quantised": new}
        for name, old, new in zip(arguments.eval, *scores, strict=True)
    ]


def _show(told: dict[str, Any], lost: "list[Lost]", *, out: Path) -> None:
    from castor.cli.screen import in_bytes, table

    rows: dict[tuple[str, int], dict[str, str]] = {}
    for one in lost:
        where, _, name = one.name.rpartition(".")
        rows.setdefault((where, one.layer), {})[name] = f"{100 * one.relative:.2f} %"
    for group in dict.fromkeys(where for where, _ in rows):
        layers = {layer: cells for (where, layer), cells in rows.items() if where == group}
        names = list(dict.fromkeys(name for cells in layers.values() for name in cells))
        table(
            ("layer", *names),
            [(str(i), *(cells.get(name, "") for name in names)) for i, cells in layers.items()],
            title=f"{group}: error over the weights' own size",
        )
    if told["benchmarks"]:
        table(
            ("benchmark", "float", told["format"], "change"),
            [_line(one) for one in told["benchmarks"]],
        )
    size, each = in_bytes(told["bytes"]), told["bytes_per_weight"]
    print(f"wrote {out}: weights of {size}, {each:.3f} bytes each")


def _line(one: dict[str, Any]) -> tuple[str, str, str, str]:
    from castor.evals.report import shown

    old, new, unit = one["float"], one["quantised"], one["unit"]
    if unit == "share":
        return one["name"], shown(old, unit), shown(new, unit), f"{100 * (new - old):+.1f} points"
    return one["name"], f"{old:.3f} {unit}", f"{new:.3f} {unit}", f"{new - old:+.3f} {unit}"
