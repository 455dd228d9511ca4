"""What the engine says, as an interaction's steps: whole, or as named events.

Invariant: the events of a stream say, put together, what the whole interaction would have said.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from castor.core.content import Call, Media, Part, Text, Turn
from castor.core.wire import part_to_wire
from castor.sample.ask import News
from castor.serve.refusal import Refusal
from castor.serve.reply import Reply, by_modality, calls_of

Wire = dict[str, Any]


class Interaction:
    """Collects the news of one interaction."""

    def __init__(self, reply: Reply, *, id: str, model: str, previous: str) -> None:
        self._reply, self._previous, self._model = reply, previous, model
        self.id = id
        self._created = _now()
        self._steps = 0  # begun
        self._open = ""  # the kind of the step that is being told

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that was said."""
        return Turn("model", tuple(self._reply.candidates[0].parts)).parts

    @property
    def content(self) -> Wire:
        """The same as contents of a later request."""
        return {"role": "model", "parts": [part_to_wire(part) for part in self.parts]}

    def note(self, news: News) -> None:
        """A piece of an interaction that is told whole."""
        self._reply.take(news)

    def begin(self) -> list[Wire]:
        """What a stream begins with."""
        told = self._frame("in_progress")
        return [{"event_type": "interaction.created", "interaction": told}]

    def events(self, news: News) -> Iterator[Wire]:
        """What is told of a piece at once."""
        for part in Turn("model", self._reply.take(news).parts).parts:
            if isinstance(part, Call):
                yield from self._close()
                started = {"type": "function_call", "id": part.id, "name": part.name}
                yield from self._begin_step(started | {"arguments": {}})
                arguments = json.dumps(dict(part.args))
                yield self._delta({"type": "arguments_delta", "arguments": arguments})
                yield from self._close()
                continue
            if self._open != "model_output":
                yield from self._begin_step({"type": "model_output", "content": []})
            yield self._delta(_content(part))

    def end(self) -> list[Wire]:
        """What a stream ends with."""
        told = self._frame(self.status) | {"usage": self.usage()}
        return [*self._close(), {"event_type": "interaction.completed", "interaction": told}]

    def sign_of_life(self) -> Wire:
        """What may be told at any time."""
        kind = "interaction.status_update"
        return {"event_type": kind, "interaction_id": self.id, "status": "in_progress"}

    def whole(self) -> Wire:
        """The interaction when all has been noted."""
        before = {"previous_interaction_id": self._previous} if self._previous else {}
        return self._frame(self.status) | before | {"steps": self.steps(), "usage": self.usage()}

    @property
    def status(self) -> str:
        """How it ended."""
        if calls_of(self.parts):
            return "requires_action"
        cut = self._reply.candidates[0].finish == "length"
        return "incomplete" if cut else "completed"

    def steps(self) -> list[Wire]:
        """What was said: text and pictures together, each call alone."""
        steps: list[Wire] = []
        for part in self.parts:
            if isinstance(part, Call):
                named = {"type": "function_call", "id": part.id, "name": part.name}
                steps.append(named | {"arguments": dict(part.args)})
            elif steps and steps[-1]["type"] == "model_output":
                steps[-1]["content"].append(_content(part))
            else:
                steps.append({"type": "model_output", "content": [_content(part)]})
        return steps

    def usage(self) -> Wire:
        """Tokens in the words of this API."""
        prompt, said = self._reply.prompt, self._reply.said
        modalities = [
            {"modality": each["modality"].lower(), "tokens": each["tokenCount"]}
            for each in by_modality(prompt)
        ]
        return {
            "total_input_tokens": prompt.total,
            "input_tokens_by_modality": modalities,
            "total_output_tokens": said,
            "total_thought_tokens": 0,
            "total_cached_tokens": self._reply.reused,
            "total_tokens": prompt.total + said,
        }

    def _frame(self, status: str) -> Wire:
        return {
            "id": self.id,
            "object": "interaction",
            "model": self._model,
            "status": status,
            "created": self._created,
            "updated": _now(),
        }

    def _begin_step(self, step: Wire) -> Iterator[Wire]:
        yield from self._close()
        self._open = step["type"]
        yield {"event_type": "step.start", "index": self._steps, "step": step}

    def _delta(self, delta: Wire) -> Wire:
        return {"event_type": "step.delta", "index": self._steps, "delta": delta}

    def _close(self) -> Iterator[Wire]:
        if self._open:
            yield {"event_type": "step.stop", "index": self._steps}
            self._steps += 1
        self._open = ""


def error_event(told: Refusal) -> Wire:
    """An error in the midst of a stream."""
    return {"event_type": "error", **told.told("interactions")}


def _content(part: Part) -> Wire:
    if isinstance(part, Media):
        kind, data = part.mime.split("/")[0], base64.b64encode(part.data).decode("ascii")
        return {"type": kind, "mime_type": part.mime, "data": data}
    assert isinstance(part, Text)  # a model says no results
    return {"type": "text", "text": part.text}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
