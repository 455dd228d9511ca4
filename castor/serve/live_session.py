"""One session of the Live API: what the client sends, and what the model does about it.

A turn of the user is whole with `turnComplete`, with a text, or when an activity ends: what was
heard in it becomes one recording. Up to MOST_FRAMES pictures of a camera, the newest since the turn
before, come first in it; then the recording, then texts. The reply is one request to the desk.
Activity and content cut it short: it is cancelled, and remembered as far as it was told.

What a user said is told as text (`inputTranscription`) by asking the model a second time, beside
the reply: no better than the model hears. It is told before the turn is complete.

Everything runs in one event loop; what may block runs in threads. An error of a task ends the
group, and with it the session.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from castor.core.content import Call, Media, Part, Text, Turn
from castor.core.wire import bytes_of
from castor.sample.ask import Ask, News
from castor.serve.fields import as_mapping, flag, listed, text
from castor.serve.live_audio import Chunk, Microphone, Sign, chunk_of, recording_of
from castor.serve.live_talk import Talk, size_of, transcription
from castor.serve.live_wire import TOO_BIG, Closed, Setup, Wire, called, said, usage
from castor.serve.metrics import Metrics
from castor.serve.prompt import perceived
from castor.serve.reply import Reply, calls_of, new_id
from castor.serve.service import Desk, Settings, Ticket
from castor.serve.stream import Chat, Silence

MOST_FRAMES, FRAME_BYTES = 4, 8 << 20
MOST_UNWRITTEN = 8  # recordings
AT_ONCE = 1 << 16  # bytes of sound that are looked at without a thread
BY_HAND = "Explicit activity control needs automaticActivityDetection.disabled in the setup"

Tell = Callable[[Wire], Awaitable[None]]


class Session:
    """A talk with one client; `tell` sends it a message. Its tasks run in `group`."""

    def __init__(
        self,
        setup: Setup,
        *,
        desk: Desk,
        settings: Settings,
        metrics: Metrics,
        tell: Tell,
        group: asyncio.TaskGroup,
    ) -> None:
        self._setup, self._desk, self._settings = setup, desk, settings
        self._metrics, self._tell, self._group = metrics, tell, group
        self._talk = Talk(setup, desk=desk, settings=settings)
        self._microphone = Microphone(setup.detection)
        self._frames: deque[Media] = deque(maxlen=MOST_FRAMES)
        self._texts: list[Part] = []  # of the activity
        self._next: list[Part] = []  # said while a reply could not be interrupted
        self._held_bytes = 0  # of both
        self._history_first = setup.history_first
        self._answering: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._told: list[Part] = []  # of the reply, until the talk has it
        self._to_write: asyncio.Queue[Media] = asyncio.Queue()
        if setup.writes_input:
            group.create_task(self._write())

    async def begin(self) -> None:
        """Tell the client that it may talk."""
        await self._tell({"setupComplete": {"sessionId": new_id()}})
        if self._setup.resumption:
            await self._tell({"sessionResumptionUpdate": {"resumable": False}})

    async def take(self, name: str, fields: Mapping[str, Any]) -> None:
        """Do what a message says.

        Raises:
            ValueError: it is not in the form of the API, or not possible now.
            Refusal, Closed: it is not for this server, or too much.
        """
        match name:
            case "clientContent":
                await self._content(fields)
            case "realtimeInput":
                await self._input(fields)
            case "toolResponse":
                if self._talk.answer_calls(fields):
                    self._answer()
            case "contextUpdate":
                self._talk.update(fields)
            case "setup":
                raise ValueError("A session is set up once, with its first message")
            case _:  # of fields that nobody knows
                pass

    async def _content(self, fields: Mapping[str, Any]) -> None:
        contents, whole = listed(fields, "turns"), flag(fields, "turnComplete", at="clientContent")
        await self._interrupt()
        if contents:
            await run_in_threadpool(self._talk.add_contents, contents)
        if whole and self._history_first:
            self._history_first = False
        elif whole:
            self._answer()

    async def _input(self, fields: Mapping[str, Any]) -> None:
        at = "realtimeInput"
        if "activityStart" in fields:
            self._check_by_hand()
            self._microphone.start()
            await self._started()
        for name in ("video", "audio", "mediaChunks"):
            for blob in listed(fields, name):
                await self._blob(as_mapping(blob, at=f"{at}.{name}"), f"{at}.{name}")
        if fields.get("text"):
            await self._text(text(fields, "text", at=at))
        if "activityEnd" in fields:
            self._check_by_hand()
            await self._ended(self._microphone.end())
        if flag(fields, "audioStreamEnd", at=at) and self._setup.detection is not None:
            active = self._microphone.active
            recording = self._microphone.end()
            if active:
                await self._ended(recording)

    def _check_by_hand(self) -> None:
        if self._setup.detection is not None:
            raise ValueError(BY_HAND)

    async def _blob(self, fields: Mapping[str, Any], at: str) -> None:
        mime, data = text(fields, "mimeType", at=at), text(fields, "data", at=at)
        raw = bytes_of(data, at)
        if mime.lower().startswith("image/"):
            if len(raw) > FRAME_BYTES:
                raise Closed(TOO_BIG, f"{at}: a picture is at most {FRAME_BYTES} bytes")
            frame = perceived(Media(mime, raw), role="user", desk=self._desk)
            assert isinstance(frame, Media)
            self._frames.append(frame)
            return
        chunk = chunk_of(mime, raw, at=at)
        perceived(Media("audio/wav", b""), role="user", desk=self._desk)
        for sign, recording in await self._heard(chunk):
            await (self._started() if sign == "start" else self._ended(recording))

    async def _heard(self, chunk: Chunk) -> list[tuple[Sign, Chunk | None]]:
        if len(chunk.data) <= AT_ONCE:
            return self._microphone.hear(chunk)
        return await run_in_threadpool(self._microphone.hear, chunk)

    async def _text(self, words: str) -> None:
        if self._microphone.active:
            self._hold([Text(words)], self._texts)
            return
        if self._setup.interrupts:
            await self._interrupt()
        await self._turn([Text(words)])

    async def _started(self) -> None:
        if self._setup.signals:
            await self._tell({"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}})
        if self._setup.interrupts:
            await self._interrupt()

    async def _ended(self, chunk: Chunk | None) -> None:
        if self._setup.signals:
            await self._tell({"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}})
        texts = self._taken(self._texts)
        heard: list[Part] = []
        if chunk is not None:
            recording = await run_in_threadpool(recording_of, chunk)
            heard.append(recording)
            self._write_later(recording)
        if heard or texts:
            await self._turn([*heard, *texts])

    def _write_later(self, recording: Media) -> None:
        if not self._setup.writes_input:
            return
        if self._to_write.qsize() >= MOST_UNWRITTEN:
            raise Closed(TOO_BIG, f"More than {MOST_UNWRITTEN} recordings wait to be written down")
        self._to_write.put_nowait(recording)

    async def _turn(self, parts: list[Part]) -> None:
        """The user has said something to be answered."""
        whole = [*self._frames, *parts]
        self._frames.clear()
        if self._talk.waits or self._is_answering:
            self._hold(whole, self._next)
            return
        self._talk.add(whole)
        self._answer()

    def _hold(self, parts: list[Part], held: list[Part]) -> None:
        """Keep parts for later, where there is room."""
        held += parts
        self._held_bytes += sum(map(size_of, parts))
        if self._held_bytes > self._settings.body_bytes:
            most = self._settings.body_bytes
            raise Closed(TOO_BIG, f"More than {most} bytes wait to be answered")

    def _taken(self, held: list[Part]) -> list[Part]:
        """What was kept, which is kept no longer."""
        parts = held.copy()
        held.clear()
        self._held_bytes -= sum(map(size_of, parts))
        return parts

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.done()

    async def _interrupt(self) -> None:
        """Stop what the model does, and tell the client if it did something."""
        task = self._answering
        cut = task is not None and self._is_answering
        if task is not None and cut:
            task.cancel()
            await asyncio.wait({task})
            if self._told:
                self._talk.reply(part for part in self._told if not isinstance(part, Call))
        ids = self._talk.take_back()
        if ids:
            await self._tell({"toolCallCancellation": {"ids": ids}})
        if cut:
            await self._tell({"serverContent": {"interrupted": True}})
            await self._tell({"serverContent": {"turnComplete": True}} | usage(self._reply))

    def _answer(self) -> None:
        self._reply, self._told = None, []
        self._answering = self._group.create_task(self._answered())

    async def _answered(self) -> None:
        """One reply, from the question to its end."""
        question = await run_in_threadpool(self._talk.question)
        self._talk.forget(question.turns)
        async with self._asked(question.ask) as (ticket, news):
            reply = Reply(ticket, candidates=1, model=self._desk.name, logprobs=False)
            self._reply = reply
            async for item in news:
                if item != "silence":
                    await self._say(reply.take(item))
        told, self._told = self._told, []
        self._talk.reply(told)
        calls = calls_of(told)
        if calls:
            await self._tell(called(calls) | usage(reply))
            return
        await self._tell({"serverContent": {"generationComplete": True}})
        await self._to_write.join()
        await self._tell({"serverContent": {"turnComplete": True}} | usage(reply))
        if self._next:
            self._talk.add(self._taken(self._next))
            self._answer()

    async def _say(self, news: News) -> None:
        self._told += news.parts
        words = (part for part in news.parts if not isinstance(part, Call))
        parts = Turn("model", tuple(words)).parts
        if parts:
            await self._tell(said(parts, transcribed=self._setup.writes_output))

    async def _write(self) -> None:
        """Tell what was said in recordings, one after another."""
        while True:
            recording = await self._to_write.get()
            written = ""
            async with self._asked(transcription(recording)) as (_, news):
                async for item in news:
                    if item != "silence":
                        written += "".join(p.text for p in item.parts if isinstance(p, Text))
            if written.strip():
                content = {"inputTranscription": {"text": written.strip()}}
                await self._tell({"serverContent": content})
            self._to_write.task_done()

    @asynccontextmanager
    async def _asked(
        self, ask: Ask
    ) -> AsyncIterator[tuple[Ticket, AsyncGenerator[News | Silence]]]:
        """A ticket with its news; it is cancelled at the end, however that comes."""
        ticket = await self._desk.ask(ask)
        chat = Chat(ticket, metrics=self._metrics, every_s=self._settings.keep_alive_s)
        try:
            news = cast("AsyncGenerator[News | Silence]", chat.news(_never))
            async with aclosing(news):
                yield ticket, news
        finally:
            ticket.cancel()


async def _never() -> Message:
    """Nothing is received here: the session itself reads."""
    await asyncio.Event().wait()
    raise AssertionError
