"""What the engine says, as OpenAI's chat completions: whole, or chunk by chunk.

Invariant: the chunks of a stream say, put together, what the whole response would have said.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from castor.core.content import Call, Media, Part, Text, Turn
from castor.sample.ask import Finish, Likely, News, Token
from castor.serve.reply import Reply


class Completion:
    """Collects the news of one request. Without `parallel`, only the first call is told."""

    def __init__(
        self, reply: Reply, *, model: str, logprobs: bool, parallel: bool, counts: bool
    ) -> None:
        self._reply, self._model, self._logprobs = reply, model, logprobs
        self._parallel, self._counts = parallel, counts
        self._calls = [0 for _ in reply.candidates]  # told so far
        self._begun = [False for _ in reply.candidates]

    def note(self, news: News) -> None:
        """A piece of a reply that is told whole."""
        self._reply.take(news)

    def chunks(self, news: News) -> Iterator[dict[str, Any]]:
        """What is told of a piece at once."""
        i = news.candidate
        news = self._reply.take(news)
        tokens = self._tokens(news.tokens)
        if not self._begun[i]:
            self._begun[i] = True
            yield self._chunk(i, {"role": "assistant", "content": ""})
        for delta in self._deltas(i, Turn("model", news.parts).parts):
            yield self._chunk(i, delta, logprobs=tokens)
            tokens = None
        if news.finish:
            yield self._chunk(i, {}, logprobs=tokens, finish=self._finish(i, news.finish))
        elif tokens:
            yield self._chunk(i, {"content": ""}, logprobs=tokens)

    def last(self) -> list[dict[str, Any]]:
        """The chunk with the usage, where it was asked for."""
        if not self._counts:
            return []
        return [{**self._frame("chat.completion.chunk"), "choices": [], "usage": self._usage()}]

    def whole(self) -> dict[str, Any]:
        """The response when all has been noted."""
        choices: list[dict[str, Any]] = []
        for i, candidate in enumerate(self._reply.candidates):
            parts = Turn("model", tuple(candidate.parts)).parts
            calls = self._kept([part for part in parts if isinstance(part, Call)])
            told = "".join(part.text for part in parts if isinstance(part, Text))
            message: dict[str, Any] = {
                "role": "assistant",
                "content": told or (None if calls else ""),
                "refusal": None,
            }
            if calls:
                message["tool_calls"] = [_call(call) for call in calls]
            pictures = [_picture(part) for part in parts if isinstance(part, Media)]
            message |= {"images": pictures} if pictures else {}
            self._calls[i] = len(calls)
            finish = self._finish(i, candidate.finish)
            logprobs = self._tokens(candidate.tokens)
            choices.append(
                {"index": i, "message": message, "finish_reason": finish, "logprobs": logprobs}
            )
        return {**self._frame("chat.completion"), "choices": choices, "usage": self._usage()}

    def _deltas(self, i: int, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
        for part in parts:
            if isinstance(part, Text):
                yield {"content": part.text}
            elif isinstance(part, Media):
                yield {"images": [_picture(part)]}
            elif isinstance(part, Call) and (self._parallel or not self._calls[i]):
                yield {"tool_calls": [{"index": self._calls[i], **_call(part)}]}
                self._calls[i] += 1

    def _kept(self, calls: list[Call]) -> list[Call]:
        return calls if self._parallel else calls[:1]

    def _finish(self, i: int, finish: Finish | None) -> str | None:
        return "tool_calls" if self._calls[i] and finish == "stop" else finish

    def _chunk(
        self,
        i: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        finish: str | None = None,
    ) -> dict[str, Any]:
        choice = {"index": i, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        usage = {"usage": None} if self._counts else {}
        return {**self._frame("chat.completion.chunk"), "choices": [choice], **usage}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._reply.id}",
            "object": kind,
            "created": self._reply.created,
            "model": self._model,
        }

    def _usage(self) -> dict[str, Any]:
        prompt, said = self._reply.prompt.total, self._reply.said
        return {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": self._reply.reused},
        }

    def _tokens(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self._logprobs or not tokens:
            return None
        told = [
            {**_likely(token.drawn), "top_logprobs": [_likely(other) for other in token.others]}
            for token in tokens
        ]
        return {"content": told, "refusal": None}


def _call(call: Call) -> dict[str, Any]:
    arguments = json.dumps(dict(call.args), ensure_ascii=False)
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _picture(medium: Media) -> dict[str, Any]:
    data = base64.b64encode(medium.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{medium.mime};base64,{data}"}}


def _likely(likely: Likely) -> dict[str, Any]:
    text = likely.text.decode("utf-8", errors="replace")
    return {"token": text, "logprob": likely.logprob, "bytes": list(likely.text)}
