"""Small runs that the tests of the loop start, also as processes of their own:

python small.py OUT [kill-at N | kill-in-save N | stop-at N]
"""

import os
import signal
import sys
from pathlib import Path

from castor.core import files
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.models.image_codec import CodecConfig
from castor.models.sizes import ModelConfig
from castor.train import meter
from castor.train.job import Progress
from castor.train.optim import Muon
from castor.train.recipe import CodecRecipe, LearnVocab, Recipe
from castor.train.run import train

NOWHERE = Path("no data is needed")

TEXT = Recipe(
    name="small",
    model=ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, context=160),
    vocab=LearnVocab(size=400, characters=20_000),
    mixture=Mixture((Part(Playground("sums"), 1.0), Part(Playground("sums", ("de",)), 0.5))),
    optimizer=Muon(),
    steps=12,
    rows=4,
    length=64,
    log_every=1,
    eval_every=0,
    eval_batches=1,
    save_every=4,
    workers=0,
)

DRAWINGS = Mixture((Part(Playground("draw", scenes=8), 1.0),))
CODEC = CodecRecipe(
    name="small/codec",
    model=CodecConfig(width=16, heads=1, encoder_layers=1, decoder_layers=1, levels=(3, 3)),
    mixture=DRAWINGS,
    steps=2,
    rows=4,
    eval_every=1,
    eval_batches=1,
    log_every=1,
)


def main() -> None:
    out, what, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    meter.peak_flops = lambda precision: 1e12
    replace, saved = os.replace, []

    def report(progress: Progress) -> None:
        if progress.stage == "model" and progress.done == at and what != "kill-in-save":
            os.kill(os.getpid(), signal.SIGKILL if what == "kill-at" else signal.SIGTERM)

    def die(source: str, target: str) -> None:
        """In the place of the rename that makes a checkpoint appear."""
        if Path(target).name == f"step_{at:06d}":
            saved.append(target)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    if what == "kill-in-save":
        files.os.replace = die
    train(TEXT, data=NOWHERE, out=out, report=report)


if __name__ == "__main__":
    main()
