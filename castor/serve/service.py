"""What the server asks of an engine, and what whoever starts the server decides."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from castor.core.content import Document
from castor.sample.ask import Ask, Constraint, News
from castor.sample.ticket import Counted

ResolveFile = Callable[[str], tuple[str, bytes]]
"""A `fileUri` that ends in `files/ID` to mime and bytes. Raises LookupError where there is none."""

Cached = Callable[[str, str], Mapping[str, Any]]
"""`cachedContents/ID` and the model asked for to the request fields that it holds (contents,
systemInstruction, tools, toolConfig), as they were sent. Raises LookupError where there is none or
it has expired, ValueError where it is of another model."""


@runtime_checkable
class Ticket(Protocol):
    """A request that the engine has taken."""

    @property
    def prompt(self) -> Counted: ...

    @property
    def reused(self) -> int:
        """Prompt tokens that were worked out for an earlier request."""
        ...

    @property
    def position(self) -> int:
        """Requests that come first; 0 = it is being worked on."""
        ...

    def __aiter__(self) -> AsyncIterator[News]:
        """The reply as it grows. Raises Late and Failed."""
        ...

    def cancel(self) -> None:
        """Nobody waits for the reply any more. From the event loop; a second time does nothing."""
        ...


@runtime_checkable
class Desk(Protocol):
    """The engine as the server sees it."""

    @property
    def name(self) -> str: ...

    @property
    def context(self) -> int:
        """Tokens, of prompt and reply together."""
        ...

    @property
    def draws(self) -> bool: ...

    @property
    def embeds(self) -> bool: ...

    @property
    def answering(self) -> int:
        """Replies that grow in the running batch."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """Which of "image", "audio" and "video" it perceives."""
        ...

    def count(self, document: Document) -> Counted:
        """Tokens of the prompt as the model would get it. Called from any thread.

        Raises:
            ValueError: a medium cannot be opened.
        """
        ...

    async def ask(self, ask: Ask) -> Ticket:
        """Queue a request.

        Raises:
            ValueError: the prompt is too long, or the model cannot do what is asked.
            Busy: the queue is full.
        """
        ...

    async def embed(self, documents: Sequence[Document]) -> list[tuple[np.ndarray, int]]:
        """A unit vector of float32 for each, and its tokens.

        Raises:
            ValueError: a medium cannot be opened, or a document is too long.
        """
        ...

    def constraint(self, kind: str, spec: Any) -> Constraint:
        """A language of replies. Called from any thread.

        "json" (None), "schema" (JSON Schema), "openapi" (the API's subset of OpenAPI), "enum" (a
        list of strings), "calls" (functions' JSON Schemas by name, and a mode of tools.MODES).

        Raises:
            ValueError: a schema says what cannot be kept to; the message names the path.
        """
        ...


@dataclass(frozen=True)
class Settings:
    """How the server behaves; the defaults suit one person on their own machine.

    Raises:
        ValueError: a number is outside its range.
    """

    host: str = "127.0.0.1"  # where it is bound: a name that requests may be addressed to
    allow_hosts: tuple[str, ...] = ()  # further names; "*" = any, without a guard
    keys: frozenset[str] = field(default=frozenset(), repr=False)  # none = no key is asked for
    origins: tuple[str, ...] = ()  # web pages elsewhere that may call; "*" = any
    body_bytes: int = 100 << 20
    keep_alive_s: float = 15.0  # of silence, before a sign of life
    head_s: float = 45.0  # before the head of a whole reply must go out; some wait a minute for it
    strict: bool = False  # refuse unknown fields
    strict_models: bool = False  # refuse gemini-… and gemma-… names of models that are not loaded
    temperature: float = 1.0  # where a request names none; so the next two
    top_p: float = 0.95
    top_k: int = 64
    grid: tuple[int, int] | None = None  # codes of a drawn picture, rows and columns, as trained
    prompts: Mapping[str, str] | None = None  # of a model that only embeds: what is before texts
    resolve_file: ResolveFile | None = None
    cached: Cached | None = None

    def __post_init__(self) -> None:
        if self.body_bytes < 1:
            raise ValueError(f"body_bytes={self.body_bytes} lets no request in")
        if self.keep_alive_s <= 0:
            raise ValueError(f"keep_alive_s={self.keep_alive_s} is not above 0")
