"""`drill`: a run that is there to be disturbed; what it learns is beside the point."""

from castor.checkpoint import Keep
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.models.sizes import ModelConfig
from castor.train.optim import AdamW
from castor.train.recipe import LearnVocab, Recipe

DRILL = Recipe(
    name="drill",
    model=ModelConfig(layers=2, width=128, hidden=256, heads=4, head_width=32, context=256),
    vocab=LearnVocab(size=512, characters=50_000),
    mixture=Mixture((Part(Playground("sums"), 1.0), Part(Playground("sums", ("de",)), 1.0))),
    optimizer=AdamW(peak_lr=1e-3),
    steps=2_400,
    rows=8,
    groups=8,
    length=256,
    log_every=20,
    eval_every=0,
    save_every=60,
    keep=Keep(last=3, best=0),
    workers=0,
)
