"""From the JSON of a generateContent request to what the engine is asked."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from castor.core.content import Document
from castor.sample.ask import Ask, Busy, Failed, Late
from castor.sample.ticket import Counted
from castor.serve import refusal
from castor.serve.fields import listed, text
from castor.serve.options import Options, options_of
from castor.serve.paths import model_of
from castor.serve.prompt import check_contents, conversation
from castor.serve.refusal import Refusal, refusals
from castor.serve.reply import Reply
from castor.serve.service import Desk, Settings
from castor.serve.shapes import spelled
from castor.serve.tools import Tools, tools_of

LOG = logging.getLogger("castor.serve.requests")
NOT_BESIDE_CACHE = ("systemInstruction", "tools", "toolConfig")


class Prompt(NamedTuple):
    document: Document
    tools: Tools


class Wanted(NamedTuple):
    ask: Ask
    logprobs: bool  # whether they are told


def wanted(
    wire: Mapping[str, Any], *, desk: Desk, settings: Settings, deadline_s: float | None
) -> Wanted:
    """What a GenerateContentRequest asks for.

    Raises:
        Refusal: something in it is wrong, or not for this server.
    """
    fields = known(wire, "GenerateContentRequest", settings)
    with refusals():
        fields = with_cached(fields, settings)
        check_contents(fields)
        prompt = prompt_of(fields, desk=desk, settings=settings)
        options = options_of(fields, desk=desk, settings=settings)
        return asked(prompt, options, desk=desk, deadline_s=deadline_s)


def asked(prompt: Prompt, options: Options, *, desk: Desk, deadline_s: float | None) -> Wanted:
    """The engine's question for a prompt and the options of its reply.

    Raises:
        ValueError: the options contradict the tools, or a schema cannot be kept to.
    """
    language = options.language
    if prompt.tools.mode:
        if language is not None:
            raise ValueError(
                f"Function calling with a response mime type: '{_mime(language[0])}' is unsupported"
            )
        if options.sampling.pictures != "never":
            raise ValueError("Function calling with pictures in the reply is unsupported")
        language = ("calls", prompt.tools.spec)
    ask = Ask(
        document=prompt.document,
        sampling=options.sampling,
        candidates=options.candidates,
        alternatives=options.alternatives,
        constraint=None if language is None else desk.constraint(*language),
        deadline_s=deadline_s,
    )
    return Wanted(ask, options.logprobs)


def prompt_of(fields: Mapping[str, Any], *, desk: Desk, settings: Settings) -> Prompt:
    """The conversation and the functions of a request.

    Raises:
        ValueError: something in it is wrong.
        Refusal: a file is not there, or a tool is not to be had.
    """
    tools = tools_of(fields)
    resolve = settings.resolve_file
    return Prompt(conversation(fields, desk=desk, declared=tools.declared, resolve=resolve), tools)


async def answer(
    desk: Desk, settings: Settings, *, model: str, wire: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole response to a GenerateContentRequest that no client waits for.

    Raises:
        Refusal: something in it is wrong, or the engine is busy or failed.
    """
    try:
        return await _answer(desk, settings, {**wire, "model": model_of(model)})
    except (Busy, Late, Failed) as error:
        raise refusal.of(error) from error


async def _answer(desk: Desk, settings: Settings, wire: Mapping[str, Any]) -> dict[str, Any]:
    asked = await run_in_threadpool(wanted, wire, desk=desk, settings=settings, deadline_s=None)
    with refusals():
        ticket = await desk.ask(asked.ask)
    candidates, logprobs = asked.ask.candidates, asked.logprobs
    reply = Reply(ticket, candidates=candidates, model=desk.name, logprobs=logprobs)
    try:
        async for news in ticket:
            reply.take(news)
    finally:
        ticket.cancel()
    return reply.whole()


def count(wire: Mapping[str, Any], *, desk: Desk, settings: Settings) -> Counted:
    """Tokens of a request's prompt, or of the begin of one that has no contents yet. It blocks.

    Raises:
        Refusal: something in it is wrong.
    """
    fields = known(wire, "GenerateContentRequest", settings)
    with refusals():
        prompt = prompt_of(with_cached(fields, settings), desk=desk, settings=settings)
        return desk.count(prompt.document)


def known(wire: Mapping[str, Any], message: str, settings: Settings) -> dict[str, Any]:
    """The fields of a message; what the API does not have is refused or logged.

    Raises:
        Refusal: a field is unknown and the server is strict.
    """
    found = spelled(wire, message=message)
    if found.unknown and settings.strict:
        raise refusal.unknown_fields(found.unknown)
    for place, name in found.unknown:
        LOG.info("ignored the unknown field %.60r at %r of a %s", name, place, message)
    return found.fields


def with_cached(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A request with the fields that its cachedContent holds, before its own.

    Raises:
        ValueError: it sets what the cache sets.
        Refusal: there is no such cache.
    """
    name = text(fields, "cachedContent", at="")
    if not name:
        return dict(fields)
    if any(fields.get(field) for field in NOT_BESIDE_CACHE):
        raise ValueError(
            "CachedContent can not be used with GenerateContent request setting "
            "system_instruction, tools or tool_config."
        )
    if settings.cached is None:
        raise _no_cache()
    try:
        wire = settings.cached(name, text(fields, "model", at=""))
    except LookupError:
        raise _no_cache() from None
    held = spelled(wire, message="GenerateContentRequest").fields
    contents = [*listed(held, "contents"), *listed(fields, "contents")]
    prefix = {field: held[field] for field in NOT_BESIDE_CACHE if field in held}
    return {**fields, **prefix, "contents": contents}


def _no_cache() -> Refusal:
    return Refusal(403, "CachedContent not found (or permission denied)")


def _mime(kind: str) -> str:
    return "text/x.enum" if kind == "enum" else "application/json"
