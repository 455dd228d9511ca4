"""The list of sources: what a recipe may name. Adding one is writing it and naming it here."""

from castor.data.clips import Filmed, MovingEmoji, Strokes
from castor.data.folders import ImageText, Jsonl, SpeechText, TextFolder, VideoText
from castor.data.images import Cifar10, EasyVqa, Emoji, Nlvr, Omniglot
from castor.data.playground import Playground
from castor.data.research import Flickr1k, Sroie, TabMwp
from castor.data.sounds import Esc10, Fsdd, ReadSpeech
from castor.data.tasks import NOT_SHIPPED, TextTask
from castor.data.texts import Books, Corpus

SourceSpec = (
    Playground
    | Jsonl
    | TextFolder
    | ImageText
    | SpeechText
    | VideoText
    | Emoji
    | EasyVqa
    | Nlvr
    | Omniglot
    | Strokes
    | MovingEmoji
    | Filmed
    | Fsdd
    | Esc10
    | ReadSpeech
    | Books
    | Corpus
    | TextTask
    | Cifar10
    | Flickr1k
    | Sroie
    | TabMwp
)

RESEARCH = "research only"
LICENCES: dict[type[SourceSpec], str] = {  # of published sets; their makers' names are in `home`
    Playground: "made by Castor",
    Emoji: "Apache-2.0",
    MovingEmoji: "Apache-2.0",
    EasyVqa: "MIT",
    Nlvr: "CC BY 4.0",
    Omniglot: "MIT",
    Strokes: "MIT",
    Filmed: "CC BY 4.0",
    Fsdd: "CC BY-SA 4.0",
    Esc10: "CC BY, CC0",
    ReadSpeech: "Apache-2.0",
    Books: "public domain",
    Cifar10: RESEARCH,
    Flickr1k: RESEARCH,
    Sroie: RESEARCH,
    TabMwp: RESEARCH,
}
TEXTS = {  # of the parts of Corpus
    "bibles": "CC0",
    "speeches": "public domain",
    "genesis": "public domain",
    "udhr": "public domain",
    "shakespeare": "public domain",
    "poetry": "MIT",
    "wiki": "CC BY-SA",
    "c4": "ODC-BY",
}


def licence(spec: SourceSpec) -> str:
    """Under which terms a source may be used; those of your own folders are yours to know."""
    if isinstance(spec, Corpus):
        return TEXTS[spec.part]
    if isinstance(spec, TextTask):
        return RESEARCH if spec.set in NOT_SHIPPED else "as published"
    return LICENCES.get(type(spec), "your own")
