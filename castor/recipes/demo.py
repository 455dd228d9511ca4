"""`demo`: the open folders and the playground, the recipe of the shipped model.

The shipped weights are a larger model, trained with it on an NVIDIA H100 at commit 6a4f1e5, seed 0,
in 9 minutes: `castor train demo --set steps=34000 --set rows=32 --set model.layers=8 --set
model.width=256 --set model.hidden=768 --set model.heads=4`, digest d8f5a2d9becb. Its codec took 47
minutes on 2 cores of an AMD EPYC. The scores stand in README.md.
As it is here it takes 97 minutes on those 2 cores, beside the codec, and does not learn nlvr;
docs/LOG.md has its scores. `demo_research` takes some 90 minutes there and comes to 75.7 % of
CIFAR-10.
"""

from dataclasses import replace

from castor.data.augment import DRAWINGS, EVENTS, NAMED, PHOTOS, SIZES, SPEECH
from castor.data.clips import Filmed, MovingEmoji, Strokes
from castor.data.images import Cifar10, EasyVqa, Emoji, Nlvr, Omniglot
from castor.data.mixture import Mixture, Part, Stage
from castor.data.playground import Playground
from castor.data.playground.languages import TONGUES
from castor.data.sounds import Esc10, Fsdd
from castor.data.texts import Books, Corpus
from castor.models.image_codec import CodecConfig
from castor.models.sizes import DEMO as MODEL
from castor.models.sizes import DEMO_LARGE
from castor.train.optim import Muon, WarmupStableDecay
from castor.train.recipe import CodecRecipe, LearnVocab, Recipe, StoredCodec, StoredVocab

LANGUAGES = tuple(TONGUES)
OTHERS = tuple(language for language in LANGUAGES if language != "en")
SCENES = 12_000
STEPS = 13_500
OTHERS_DRAWN = Playground("draw", languages=OTHERS, scenes=SCENES)

DRAWN = Mixture(
    (
        Part(Emoji("draw"), 0.75, augment=replace(DRAWINGS, flip=True)),
        Part(Playground("draw", scenes=SCENES), 0.25),
    )
)

QUIET = {  # emphases while something else has to be heard
    "fsdd": 0.25,
    "esc10": 0.25,
    "emoji/name": 0.25,
    "emoji/draw": 0.5,
    "playground/draw": 0.75,
    OTHERS_DRAWN.name: 0.125,
    "books": 0.5,
}
FEWER = {"easy_vqa": 0.042, "emoji/name": 0.01, "emoji/draw": 0.07, "books": 0.1}
HARD = (
    "nlvr",
    "playground/claims",
    "playground/told",
    "playground/inventory",
    "moving_emoji",
    "playground/turning",
)


def _stage(
    end: int, shares: tuple[float, ...], emphases: tuple[float, ...], *, loud: bool = True
) -> Stage:
    """Until that step: shares and emphases of what is HARD; while it is `loud`, all else is QUIET.

    16 rows hold 7 pictures of boxes and 9 clips, hardly more.
    """
    return Stage(
        end / STEPS,
        (FEWER if loud else {}) | dict(zip(HARD, shares, strict=True)),
        (QUIET if loud else {}) | dict(zip(HARD, emphases, strict=True)),
    )


STAGES = (  # docs/LOG.md says how they came to be
    Stage(  # colours, shapes, sounds, words: nothing that follows from several of them
        4_000 / STEPS,
        {
            "easy_vqa": 0.08,
            "nlvr": 0.0,
            "playground/claims": 0.0,
            "playground/told": 0.14,
            "playground/inventory": 0.12,
            "playground/turning": 0.0,
            "moving_emoji": 0.1,
            "fsdd": 0.06,
            "esc10": 0.05,
            "playground/draw": 0.1,
        },
        {"playground/told": 4.0, "moving_emoji": 1.0, "emoji/name": 1.0, "emoji/draw": 2.0},
    ),
    _stage(6_000, (0.0, 0.1, 0.45, 0.1, 0.06, 0.0), (1.0, 6.0, 16.0, 4.0, 1.5, 1.0)),
    _stage(7_500, (0.0, 0.08, 0.1, 0.04, 0.15, 0.11), (1.0, 3.0, 4.0, 1.0, 10.0, 12.0)),
    _stage(
        10_500, (0.04, 0.16, 0.14, 0.04, 0.13, 0.03), (2.0, 8.0, 5.0, 2.0, 5.0, 1.5), loud=False
    ),
)

MIXTURE = Mixture(
    parts=(
        Part(EasyVqa(), 0.05, augment=SIZES),
        Part(Nlvr(), 0.05, 2.0),
        Part(Playground("claims", questions=2), 0.12, 5.0),
        Part(Playground("told"), 0.08, 3.0),
        Part(Playground("inventory", questions=6), 0.03, 3.0),
        Part(MovingEmoji(), 0.13, 4.0),
        Part(Playground("turning"), 0.02, 1.0),
        Part(Fsdd(), 0.05, augment=SPEECH),
        Part(Esc10(), 0.035, augment=EVENTS),
        Part(Emoji("name", side=96), 0.04, 1.5, augment=NAMED),
        Part(Emoji("draw"), 0.09, 3.0),
        Part(Playground("draw", scenes=SCENES), 0.08, 3.0),
        Part(OTHERS_DRAWN, 0.03, 0.5),
        Part(Playground("story", scenes=SCENES), 0.01, 0.2),
        Part(Playground("describe", languages=LANGUAGES), 0.01, 0.2),
        Part(Playground("shapes", languages=LANGUAGES), 0.03, 0.4, augment=SIZES),
        Part(Playground("charts"), 0.01, 0.1),
        Part(Playground("digits"), 0.01, 0.1),
        Part(Playground("sounds"), 0.01, 0.1),
        Part(Playground("speech"), 0.01, 0.1),
        Part(Playground("motion"), 0.02, 0.2),
        Part(Playground("sums", languages=LANGUAGES), 0.01, 0.1),
        Part(Strokes(), 0.01, 0.1),
        Part(Omniglot(), 0.01, 0.1),
        Part(Filmed("clips", frames=4), 0.002, 0.02),
        Part(Books(), 0.12, 2.0),
        Part(Corpus("bibles"), 0.01, 0.1),
        Part(Corpus("udhr"), 0.005, 0.05),
        Part(Corpus("speeches"), 0.005, 0.05),
        Part(Corpus("shakespeare"), 0.005, 0.05),
    ),
    stages=STAGES,
    balance="parts",
)

CODEC = CodecRecipe(
    name="demo/codec",
    model=CodecConfig(),
    mixture=DRAWN,
    optimizer=Muon(peak_lr=3e-3),
    steps=9_000,
    rows=32,
    absolute=0.01,
    eval_every=1_000,
    save_every=1_000,
)

DEMO = Recipe(
    name="demo",
    model=MODEL,
    vocab=LearnVocab(size=2560),
    codec=CODEC,
    mixture=MIXTURE,
    optimizer=Muon(peak_lr=3e-3, schedule=WarmupStableDecay(decay=9_500 / STEPS)),
    steps=STEPS,
    rows=16,
    length=256,
    capacity={"image": 112, "audio": 56},
)

SHIPPED = "castor/weights/demo"
RESEARCH = replace(  # goes on from the shipped weights: photos, and a little of all else
    DEMO,
    name="demo_research",
    model=DEMO_LARGE,
    start=SHIPPED,
    vocab=StoredVocab(SHIPPED),
    codec=StoredCodec(SHIPPED),
    mixture=Mixture(
        (*MIXTURE.parts, Part(Cifar10(), 4.0, 50.0, augment=PHOTOS)), balance=MIXTURE.balance
    ),
    optimizer=Muon(peak_lr=2e-3, decay=0.1, schedule=WarmupStableDecay(decay=0.6)),
    steps=6_000,
    capacity={"image": 180, "audio": 56},
)
