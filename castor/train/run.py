"""A run: from a recipe and a folder of data to a checkpoint, each thing made once.

Invariant: what has been made in a run's folder is read back and never made again; a folder holds
one run.
"""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from castor.checkpoint import HEAD, MERGED, VOCAB, load_codec, newest, place
from castor.checkpoint.bucket import Bucket
from castor.core.files import write_atomic
from castor.core.recipe import from_json, to_json
from castor.fleet.team import Team
from castor.models.layout import refuse
from castor.models.lora import Lora
from castor.train.finetune import finetune_job, merge
from castor.train.interruption import alone
from castor.train.job import Progress, Report, codec_job, model_job
from castor.train.loop import Means, fit
from castor.train.memory import Kept
from castor.train.prepare import picture_book, vocabulary
from castor.train.recipe import (
    AnyRecipe,
    CodecRecipe,
    FineTune,
    Recipe,
    StoredCodec,
    differences,
    stored,
)

RECIPE = "recipe.json"
TAKE_UP_S = 6 * 3600.0  # for which other hosts wait for the first one to bring a run from a bucket


def train(
    recipe: AnyRecipe,
    *,
    data: Path,
    out: Path,
    report: Report = lambda _: None,
    mesh: Mesh | None = None,
    kept: Kept | None = None,
    bucket: Bucket | None = None,
) -> Path:
    """Do all of a run that is not done yet, and give the path of its last checkpoint.

    A model's run first makes its codec (in `out`/codec), its vocabulary and the codes of the
    pictures that it learns to draw. One of adapters ends with the whole model in `out`/merged, and
    gives that. SIGTERM and Ctrl-C save before they end the process. A run may go on with another
    `mesh` than it began with; None = one device. What is `kept` in memory outlives the process: a
    run goes on from there, if it is newer than the last checkpoint. Several processes which have
    joined by `castor.fleet.team.join` are one run; all of them see `out` and `data`. The first one
    copies what is saved to the `bucket` too, beside the training: see `take_up` and
    `castor.checkpoint.bucket.Bucket.finish`.

    Raises:
        ValueError: `out` holds a run of another recipe, or one that is under way or damaged; or
            data is missing or does not fit; or the mesh does not divide rows, their length or the
            model's heads; or the clocks of its hosts disagree.
        OSError: something cannot be written.
    """
    if mesh is not None:
        fits(recipe, mesh.shape)
    team = Team()
    out.mkdir(parents=True, exist_ok=True)
    with alone(out) if team.first else nullcontext():
        if team.first:
            _settle(recipe, out)
        team.wait("settled", limit_s=TAKE_UP_S)
        team.refuse_clocks()
        done = place(out, recipe.steps)
        if not done.exists():
            where = {"data": data, "out": out, "report": report, "mesh": mesh, "kept": kept}
            done = _fitted(recipe, team, **where, bucket=bucket)
        if isinstance(recipe, FineTune) and isinstance(recipe.tuning, Lora):
            done = team.after_first("merged", partial(_merged, out))
        if bucket is not None:
            bucket.sync(out)
        return done


def take_up(recipe: AnyRecipe, bucket: Bucket, out: Path) -> None:
    """Bring a run from its bucket, and its codec's, where that is further than its folder.

    Raises:
        ValueError: the bucket or the folder holds a run of another recipe, or one is under way.
        OSError: the bucket cannot be read, and there is no checkpoint to go on from without it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        _settle(recipe, out)
        try:
            theirs = bucket.read(RECIPE)
            other = theirs and differences(from_json(type(recipe), json.loads(theirs)), recipe)
            if other:
                raise ValueError(
                    f"{bucket.address} holds a run whose {other[0]}; name another address"
                )
            bucket.fetch(out)
        except OSError as error:
            if newest(out) is None:
                raise
            bucket.tell(f"{error}; going on from {newest(out)}")
    if isinstance(recipe, Recipe) and isinstance(recipe.codec, CodecRecipe):
        take_up(recipe.codec, bucket.below("codec"), out / "codec")


def _fitted(recipe: AnyRecipe, team: Team, **where: Any) -> Path:
    data, out, report = where["data"], where["out"], where["report"]
    means = Means(report, where["mesh"], where["kept"], where["bucket"], team)
    fitted = partial(fit, means=means)
    if isinstance(recipe, FineTune):
        report(Progress("model", 0, recipe.steps))
        job = team.after_first("job", partial(finetune_job, recipe, data=data, out=out))
        return fitted(job)
    if isinstance(recipe, CodecRecipe):
        report(Progress("codec", 0, recipe.steps))
        return fitted(codec_job(recipe, data=data, out=out))
    codec = book = None
    if isinstance(recipe.codec, CodecRecipe):
        below = where["bucket"] and where["bucket"].below("codec")
        codec = load_codec(train(recipe.codec, **(where | {"out": out / "codec", "bucket": below})))
    elif isinstance(recipe.codec, StoredCodec):
        codec = load_codec(stored(recipe.codec.path))
    report(Progress("vocabulary", 0, 0))
    codes = codec.config.codes if codec else 0
    learn = partial(vocabulary, recipe, data=data, out=out, codes=codes)
    vocab = team.after_first("vocabulary", learn)
    if codec is not None:
        report(Progress("pictures", 0, 0))
        encode = partial(picture_book, recipe, codec, data=data, out=out)
        book = team.after_first("pictures", encode)
    report(Progress("model", 0, recipe.steps))
    return fitted(model_job(recipe, vocab=vocab, codec=codec, book=book, data=data, out=out))


def _merged(out: Path) -> Path:
    whole = out / MERGED
    return whole if (whole / HEAD).exists() else merge(out)


def fits(recipe: AnyRecipe, mesh: Mapping[str, int]) -> None:
    """Say what a mesh does not divide, of the recipe and of its codec's.

    Raises:
        ValueError: rows, their length or the model's heads cannot be shared out.
    """
    rows = recipe.rows // recipe.accumulate
    if isinstance(recipe, CodecRecipe):
        refuse(mesh, rows=rows)
        return
    heads = recipe.model.heads if isinstance(recipe, Recipe) else None
    refuse(mesh, rows=rows, length=recipe.length, heads=heads)
    if isinstance(recipe, Recipe) and isinstance(recipe.codec, CodecRecipe):
        fits(recipe.codec, mesh)


def _settle(recipe: AnyRecipe, out: Path) -> None:
    """Write the recipe into a new run's folder; in an old one, compare.

    Until there is a checkpoint nothing is lost by beginning anew: a start that failed does not tie
    the folder to what made it fail.
    """
    path = out / RECIPE
    if path.exists():
        other = differences(from_json(type(recipe), json.loads(path.read_text())), recipe)
        if not other:
            return
        if newest(out) is not None:
            more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
            raise ValueError(f"{out} holds a run whose {other[0]}{more}; name another folder")
        (out / VOCAB).unlink(missing_ok=True)
    write_atomic(path, (json.dumps(to_json(recipe), indent=1) + "\n").encode())
