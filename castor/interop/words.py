"""A vocabulary and its dialogue in the words that other people's runtimes go by.

Every row of the embedding has a piece of its own, whose text no other has.
"""

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


def words(vocab: Vocab) -> Words:
    """The words of a vocabulary: picture codes are controls, and ids that nothing uses have names.

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
    kinds = [piece.kind for piece in pieces]
    if UNKNOWN not in kinds:
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
        unknown=kinds.index(UNKNOWN),
        ends=tuple(ends),
        template=template(dialogue, [piece.text for piece in pieces]),
    )


def template(dialogue: Dialogue, texts: list[str]) -> str:
    """A Jinja template that writes what `render` does of the texts of turns.

    Media and calls of functions have no place in it. It does not guard against texts that spell a
    control piece: who tokenizes what it writes reads that as the id.
    """

    def spelled(marks: Marks) -> str:
        text = "".join(texts[mark] if isinstance(mark, int) else mark for mark in marks)
        escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"

    said = "ns.text | trim" if dialogue.trims else "ns.text"
    lines = [
        f"{{{{ {spelled(dialogue.begin)} }}}}",
        "{%- set ns = namespace(text='', ahead='') -%}",
        "{%- for message in messages -%}",
        "{%- if message['content'] is string -%}",
        "{%- set ns.text = message['content'] -%}",
        "{%- else -%}",
        "{%- set ns.text = '' -%}",
        "{%- for part in message['content'] -%}",
        "{%- if part['type'] == 'text' -%}",
        "{%- set ns.text = ns.text + part['text'] -%}",
        "{%- else -%}",
        "{{ raise_exception('this template has a place for text alone') }}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
    ]
    word = "if"
    if dialogue.gap is not None:
        gap = spelled((dialogue.gap,))
        lines.append("{%- if message['role'] == 'system' -%}")
        lines.append(f"{{%- set ns.ahead = ({said}) + {gap} -%}}")
        word = "elif"
    for role, name in ROLES.items():
        if role in dialogue.opens:
            ahead = " + ns.ahead" if role == "user" and dialogue.gap is not None else ""
            opens, closes = spelled(dialogue.opens[role]), spelled(dialogue.closes[role])
            lines.append(f"{{%- {word} message['role'] == '{name}' -%}}")
            lines.append(f"{{{{ {opens}{ahead} + ({said}) + {closes} }}}}")
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


def _end(dialogue: Dialogue) -> int:
    """The id that ends a text, not only a turn."""
    finish = [mark for mark in dialogue.finish if isinstance(mark, int)]
    return finish[0] if finish else dialogue.ends[min(1, len(dialogue.ends) - 1)]
