"""The list of sources: what a recipe may name. Adding one is writing it and naming it here."""

from castor.data.clips import Filmed, MovingEmoji, Strokes
from castor.data.folders import ImageText, Jsonl, SpeechText, TextFolder, VideoText
from castor.data.images import Cifar10, EasyVqa, Emoji, Nlvr, Omniglot
from castor.data.playground import Playground
from castor.data.research import Flickr1k, Sroie, TabMwp
from castor.data.sounds import Esc10, Fsdd, ReadSpeech
from castor.data.tasks import TextTask
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
