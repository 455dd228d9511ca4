"""`tiny`: the playground alone, from nothing to a model that answers and draws, on a laptop.

Run on 2 cores of an AMD EPYC, seed 0, digest 90bef656dc88: 7.0 minutes from an installed clone to
the table (codec 1.5, model 4.5, evaluation 0.9). Of 200 problems each: attributes of drawn scenes
96 %, sounds 90, speech 86, clips 64, charts 51, shapes 49, sums 23, digits 9.
"""

from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.data.playground.languages import TONGUES
from castor.models.image_codec import CodecConfig
from castor.models.sizes import MINI
from castor.train.optim import Muon
from castor.train.recipe import CodecRecipe, LearnVocab, Recipe

LANGUAGES = tuple(TONGUES)
SCENES = 3_000  # drawings whose codes are made before training

DRAWINGS = Mixture((Part(Playground("draw", scenes=SCENES), 1.0),))

MIXTURE = Mixture(
    parts=(
        Part(Playground("shapes", languages=LANGUAGES), 0.16),
        Part(Playground("draw", scenes=SCENES), 0.26, 3.0),
        Part(Playground("describe", languages=LANGUAGES), 0.06),
        Part(Playground("charts"), 0.06),
        Part(Playground("digits"), 0.08),
        Part(Playground("sounds"), 0.1),
        Part(Playground("speech"), 0.06),
        Part(Playground("motion"), 0.14),
        Part(Playground("sums", languages=LANGUAGES), 0.08),
    ),
    balance="parts",
)

CODEC = CodecRecipe(
    name="tiny/codec",
    model=CodecConfig(width=96, heads=3, encoder_layers=1, decoder_layers=2),
    mixture=DRAWINGS,
    optimizer=Muon(peak_lr=3e-3),
    steps=1_200,
    rows=16,
    absolute=0.01,
    eval_every=0,
    save_every=600,
)

TINY = Recipe(
    name="tiny",
    model=MINI,
    vocab=LearnVocab(size=1024, characters=400_000),
    codec=CODEC,
    mixture=MIXTURE,
    optimizer=Muon(peak_lr=4e-3),
    steps=2_200,
    rows=8,
    length=256,
    capacity={"image": 96, "audio": 56},
    eval_every=400,
    save_every=400,
)
