"""Replies held to a language: JSON, a schema, a choice, function calls. Made once, shared by many.

Invariant: a reply that ended by itself is of its language: its JSON parses, is valid against its
schema and is compact. One that was cut off is not; its guide would have let it end.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from castor.sample.ask import Constraint, Failed, Guide
from castor.sample.constrain_ends import Node
from castor.sample.schema import MOST_BYTES, Schemas
from castor.tokens.dialogue import Functions
from castor.tokens.vocab import Vocab

MOST_CALLS = 8  # in one reply [ours]
NOTHING = {"type": "object", "properties": {}}
STACK = 2**28  # bytes; what the longest chain of references in MOST_BYTES needs, twice over
TRIAL = 3  # steps: behind the first brace or quote lies what is too complex
LIMITS = LLParserLimits(
    initial_lexer_fuel=5_000_000,  # about 0.1 s
    max_items_in_row=20_000,  # an object of 1,000 optional properties takes 4,000
    step_max_items=200_000,
    max_lexer_states=50_000,  # of 1 to 2 kB each
    verbose_errors=False,
)

MODES = ("any", "auto", "validated")


@lru_cache(maxsize=8)
def json_value(vocab: Vocab) -> Constraint:
    """Any JSON object or array, nested at most `schema.LEVELS` deep."""
    return json_schema({"type": ["object", "array"]}, vocab=vocab)


def json_schema(schema: Any, *, vocab: Vocab, path: str = "responseJsonSchema") -> Constraint:
    """JSON that is valid against a JSON Schema, properties in the schema's order.

    `schema.Schemas` says what is supported and how far an open schema is narrowed. Of formats,
    e-mail addresses, host names and URIs are checked only roughly.

    Raises:
        ValueError: the schema is not supported, too large or too deep, or no value satisfies it;
            the message begins with `path` and what lies below it.
    """
    schemas = Schemas()
    root = schemas.add(schema, path)
    return _Whole(_matcher(_grammar(schemas.whole(root, path)), vocab, path), vocab)


def choices(values: Sequence[str], *, vocab: Vocab, path: str = "enum") -> Constraint:
    """Exactly one of these texts.

    Raises:
        ValueError: there is none, one is empty, or they are too long.
    """
    if not values or not all(values):
        raise ValueError(f"{path}: a choice needs texts, none of them empty; got {list(values)}")
    if (size := sum(len(value.encode()) for value in values)) > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes of texts; at most {MOST_BYTES} are read")
    lark = f"start: CHOICE\nCHOICE: {' | '.join(map(json.dumps, values))}"
    return _Whole(_matcher(lark, vocab, path), vocab)


def calls(
    functions: Mapping[str, Any],
    *,
    vocab: Vocab,
    mode: str = "auto",
    most: int = MOST_CALLS,
    path: str = "functionDeclarations",
) -> Constraint:
    """Function calls, each with arguments that are valid against the JSON Schema of its function.

    "any" is 1 to `most` calls and nothing else; "auto" and "validated" are text in which up to
    `most` calls may stand. A function without a schema (None or {}) takes no arguments. Where the
    dialogue writes calls in brackets, what stands in them is not held to the schemas.

    Raises:
        ValueError: the dialogue has no calls, there is no function or one without a name, the mode
            is unknown, `most` is less than 1, or a schema is not one of objects or is refused as
            by `json_schema`.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is none of {MODES}")
    if most < 1 or not functions or not all(functions):
        raise ValueError(f"calls need named functions and room; got {[*functions]}, most={most}")
    form = vocab.dialogue.functions
    if form is None:
        raise ValueError(f"{path}: the dialogue {vocab.dialogue.name} has no calls of functions")
    schemas = Schemas()
    forms: list[Node] = []
    for name, schema in functions.items():
        arguments = schemas.add(schema or NOTHING, f"{path}.{name}")
        if not schemas.only_objects(arguments):
            raise ValueError(f"{path}.{name}: the arguments of a function are of type 'object'")
        forms.append(_call(name, arguments))
    grammar = _grammar(schemas.whole({"anyOf": forms}, path))
    matcher = _matcher(grammar, vocab, path) if form.quote is None else None
    return _Calls(matcher, vocab, form, most, mode == "any")


def _call(name: str, arguments: Node) -> Node:
    return {
        "type": ["object"],
        "properties": {"name": {"const": name}, "body": arguments},
        "required": ["name", "body"],
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class _Whole:
    """A reply that is one sentence of a grammar."""

    matcher: LLMatcher  # at its beginning; copied for each reply
    vocab: Vocab

    def start(self) -> Guide:
        end = self.vocab.dialogue.end
        return _Sentence(self.matcher, self.vocab.size, end=end, closes=end)


@dataclass(frozen=True)
class _Calls:
    """A reply of calls, each of them one sentence of a grammar."""

    matcher: LLMatcher | None  # None: what is in a call is free
    vocab: Vocab
    form: Functions
    most: int
    only: bool  # there is no text around the calls

    def start(self) -> Guide:
        return _Talk(self)


class _Sentence:
    """A guide through one sentence: the grammar's end is the id `end`, `closes` what is said."""

    def __init__(self, matcher: LLMatcher, size: int, *, end: int, closes: int) -> None:
        self._matcher, self._size = matcher.deep_copy(), size
        self._end, self._closes = end, closes
        self._over = False

    def allowed(self) -> Bool[np.ndarray, " V"]:
        if self._over:
            return _only(self._closes, self._size)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():  # the mask would allow the end
            raise Failed(f"the grammar gave up: {_line(self._matcher.get_error())}")
        may = np.unpackbits(bits, count=self._size, bitorder="little").view(np.bool_)
        may[self._closes] = may[self._end]
        may[self._end] &= self._closes == self._end
        return may

    def take(self, i: int) -> None:
        self._over = self._over or i == self._closes
        if not self._over and not self._matcher.consume_token(i):
            raise Failed(f"id {i} is not allowed here: {_line(self._matcher.get_error())}")


class _Free:
    """A guide through a call in brackets: anything but another control id."""

    def __init__(self, vocab: Vocab, form: Functions) -> None:
        self._may = _text_ids(vocab).copy()
        self._may[[form.call[1], *([] if form.quote is None else [form.quote])]] = True

    def allowed(self) -> Bool[np.ndarray, " V"]:
        return self._may

    def take(self, i: int) -> None:
        pass


class _Talk:
    """A guide through calls and, unless they are alone, the text around them."""

    def __init__(self, rule: _Calls) -> None:
        self._rule, self._left = rule, rule.most
        self._call: _Sentence | _Free | None = None
        self._over = False

    def allowed(self) -> Bool[np.ndarray, " V"]:
        if self._call is not None:
            return self._call.allowed()
        vocab, rule = self._rule.vocab, self._rule
        if self._over:
            return _only(vocab.dialogue.end, vocab.size)
        may = np.zeros(vocab.size, np.bool_) if rule.only else _text_ids(vocab).copy()
        may[rule.form.call[0]] = self._left > 0
        may[[*vocab.dialogue.ends]] = not rule.only or self._left < rule.most
        return may

    def take(self, i: int) -> None:
        begin, end = self._rule.form.call
        if self._call is not None:
            self._call.take(i)
            self._call = None if i == end else self._call
        elif i == begin:
            self._left -= 1
            self._call = self._begun()
        else:
            self._over = i in self._rule.vocab.dialogue.ends

    def _begun(self) -> _Sentence | _Free:
        rule, dialogue = self._rule, self._rule.vocab.dialogue
        if rule.matcher is None:
            return _Free(rule.vocab, rule.form)
        size, closes = rule.vocab.size, rule.form.call[1]
        return _Sentence(rule.matcher, size, end=dialogue.end, closes=closes)


def _only(i: int, size: int) -> Bool[np.ndarray, " V"]:
    return np.arange(size) == i


@lru_cache(maxsize=8)
def _text_ids(vocab: Vocab) -> Bool[np.ndarray, " V"]:
    return np.array([vocab.is_text(i) for i in range(vocab.size)])


def _grammar(schema: str) -> str:
    return f'{{"grammars": [{{"json_schema": {schema}}}]}}'


def _matcher(grammar: str, vocab: Vocab, path: str) -> LLMatcher:
    """A matcher at the beginning of the grammar, once its first steps have been tried."""
    tokenizer, made = _tokenizer(vocab), list[LLMatcher]()
    before = threading.stack_size(STACK)
    try:  # the compiler recurses along references, and overflows an ordinary stack
        thread = threading.Thread(target=lambda: made.append(_tried(tokenizer, grammar)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if made[0].is_error():
        raise ValueError(f"{path}: {_line(made[0].get_error())}")
    return made[0]


def _tried(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    """The matcher, or a copy of it that met an error."""
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    trial = matcher.deep_copy()
    for _ in range(TRIAL):
        if trial.is_error() or trial.is_stopped():
            break
        allowed = np.unpackbits(np.frombuffer(trial.compute_bitmask(), np.uint8), bitorder="little")
        trial.consume_token(int(allowed.argmax()))
    return trial if trial.is_error() else matcher


class _Spelling:
    """A vocabulary as the grammar's compiler reads it; all that is not text is out of reach."""

    def __init__(self, vocab: Vocab) -> None:
        self.eos_token_id = int(vocab.dialogue.end)
        self.bos_token_id = int(next(i for i in vocab.dialogue.begin if isinstance(i, int)))
        texts = [vocab.is_text(i) for i in range(vocab.size)]
        self._encode = vocab.encode
        self.special_token_ids = [i for i, text in enumerate(texts) if not text]
        self.tokens = [
            vocab.piece_bytes(i) if text else b"<%d>" % i for i, text in enumerate(texts)
        ]

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


@lru_cache(maxsize=8)
def _tokenizer(vocab: Vocab) -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Spelling(vocab)))


def _line(message: str) -> str:
    """The first words of a compiler's message, on one line."""
    return " ".join(message.split())[:200]
