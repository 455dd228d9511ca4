"""A vocabulary and its dialogue in the words that other people's runtimes go by.

Every row of the embedding has a piece of its own, whose text no other has.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from castor.core.content import Role
from castor.tokens.dialogue import Dialogue, Marks
from castor.tokens.proto import CONTROL, UNKNOWN, UNUSED, Piece
from castor.tokens.vocab import Vocab

ROLES: dict[Role, str] = {"user": "user", "model": "assistant", "system": "system"}


class Words(NamedTuple):
    """What a runtime has to know of a vocabulary."""

    pieces: list[Piece]
    begin: int  # the id that every text begins with
    end: int  # the one that ends a text
    turn_end: int  # the one that ends a turn
    pad: int
    unknown: int
    ends: tuple[int, ...]  # all that end a reply
    template: str  # of a chat, in Jinja


def words(vocab: Vocab, *, kinds: Collection[str] = ()) -> Words:
    """The words of a vocabulary: picture codes are controls, and ids that nothing uses have names.

    `kinds` are those of signals that a model reads, for which its chats have places.

    Raises:
        ValueError: no piece is the unknown one, or a name is taken.
    """
    pieces = list(vocab.pieces)
    pieces += [Piece(f"<code_{i}>", 0.0, CONTROL) for i in range(len(vocab.codes))]
    pieces += [Piece(f"<none_{i}>", 0.0, UNUSED) for i in range(len(pieces), vocab.size)]
    texts = [piece.text for piece in pieces]
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise ValueError(f"the vocabulary has {twice!r} twice, and ids go by their texts elsewhere")
    types = [piece.kind for piece in pieces]
    if UNKNOWN not in types:
        raise ValueError("the vocabulary has no unknown piece, which other runtimes ask for")
    dialogue = vocab.dialogue
    begin = next(mark for mark in dialogue.begin if isinstance(mark, int))
    ends = dict.fromkeys((*dialogue.ends, *(m for m in dialogue.finish if isinstance(m, int))))
    return Words(
        pieces=pieces,
        begin=begin,
        end=_end(dialogue),
        turn_end=dialogue.end,
        pad=texts.index("<pad>") if "<pad>" in texts else _end(dialogue),
        unknown=types.index(UNKNOWN),
        ends=tuple(ends),
        template=template(dialogue, texts, kinds=kinds),
    )


def template(dialogue: Dialogue, texts: list[str], *, kinds: Collection[str] = ()) -> str:
    """A Jinja template that writes what `render` does of the texts of turns.

    A signal of `kinds` is one piece, which a processor puts its slots in the place of. Calls of
    functions have no place in it. It does not guard against texts that spell a control piece: who
    tokenizes what it writes reads that as the id.
    """

    def spelled(marks: Marks) -> str:
        text = "".join(texts[mark] if isinstance(mark, int) else mark for mark in marks)
        escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"

    trims = " | trim" if dialogue.trims else ""
    places = {kind: text for kind, text in _places(dialogue, texts).items() if kind in kinds}
    lines = [f"{{{{ {spelled(dialogue.begin)} }}}}", *_read(trims, places)]
    word = "if"
    if dialogue.gap is not None:
        gap = spelled((dialogue.gap,))
        lines.append("{%- if message['role'] == 'system' -%}")
        lines.append(f"{{%- set ns.ahead = ns.text + {gap} -%}}")
        word = "elif"
    for role, name in ROLES.items():
        if role in dialogue.opens:
            ahead = " + ns.ahead" if role == "user" and dialogue.gap is not None else ""
            opens, closes = spelled(dialogue.opens[role]), spelled(dialogue.closes[role])
            lines.append(f"{{%- {word} message['role'] == '{name}' -%}}")
            lines.append(f"{{{{ {opens}{ahead} + ns.text + {closes} }}}}")
            lines += ["{%- set ns.ahead = '' -%}"] if ahead else []
            word = "elif"
    lines += [
        "{%- else -%}",
        "{{ raise_exception('this template has no turns of ' + message['role']) }}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- if add_generation_prompt -%}",
        f"{{{{ {spelled(dialogue.opens['model'])} }}}}",
    ]
    if dialogue.finish:
        lines += ["{%- else -%}", f"{{{{ {spelled(dialogue.finish)} }}}}"]
    return "\n".join([*lines, "{%- endif -%}"])


def _read(trims: str, places: dict[str, str]) -> list[str]:
    """The lines that begin the loop over messages and set `ns.text` to what one says."""
    return [
        "{%- set ns = namespace(text='', ahead='') -%}",
        "{%- for message in messages -%}",
        "{%- if message['tool_calls'] -%}",
        "{{ raise_exception('this template has no place for calls of functions') }}",
        "{%- endif -%}",
        "{%- if message['content'] is string -%}",
        f"{{%- set ns.text = message['content']{trims} -%}}",
        "{%- else -%}",
        "{%- set ns.text = '' -%}",
        "{%- for part in message['content'] -%}",
        "{%- if part['type'] == 'text' -%}",
        f"{{%- set ns.text = ns.text + (part['text']{trims}) -%}}",
        *_placed(places),
        "{%- else -%}",
        f"{{{{ raise_exception('this template has places for {_and(places)}') }}}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
    ]


def _places(dialogue: Dialogue, texts: list[str]) -> dict[str, str]:
    """The piece that a processor replaces, by kind of signal: of Gemma 3 the one that begins a
    picture, of Gemma 4 that of a slot."""
    found = {kind: texts[slots.slot] for kind, slots in dialogue.slots.items()}
    if dialogue.name == "gemma3":
        before = dialogue.slots["image"].before
        return {"image": next(texts[mark] for mark in before if isinstance(mark, int))}
    if dialogue.name != "gemma4" or dialogue.clip is None:
        return {}
    return found | {"video": texts[dialogue.clip.frame.slot]}


def _placed(places: Mapping[str, str]) -> list[str]:
    return [
        line
        for kind, text in places.items()
        for line in (
            f"{{%- elif part['type'] == '{kind}' -%}}",
            f"{{%- set ns.text = ns.text + '{text}' -%}}",
        )
    ]


def _and(places: Mapping[str, str]) -> str:
    return " and ".join(["text", *places]) if places else "text alone"


def _end(dialogue: Dialogue) -> int:
    """The id that ends a text, not only a turn."""
    finish = [mark for mark in dialogue.finish if isinstance(mark, int)]
    return finish[0] if finish else dialogue.ends[min(1, len(dialogue.ends) - 1)]
