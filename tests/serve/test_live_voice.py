"""Sessions of sound: spoken turns, barging in, transcriptions and camera pictures."""

from typing import Any

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_sound
from castor.sample.ask import Ask
from castor.serve.live_session import MOST_FRAMES, MOST_UNWRITTEN
from castor.serve.live_talk import TRANSCRIBE

from .fake_desk import FakeDesk, FakeTicket, says, spelled
from .live_driver import RATE, Client, kinds, pcm, quiet, refusal, said, talk, tone

SPEECH = np.concatenate([quiet(0.5), tone(0.5), quiet(0.8)])
BY_HAND = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
PATIENT = {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}}
STILL = 60.0


class Listening(FakeDesk):
    """Writes down "blah" when it is asked to transcribe."""

    async def ask(self, ask: Ask) -> FakeTicket:
        kept = self.script
        if ask.document.turns[-1].parts[-1] == Text(TRANSCRIBE):
            self.script = [0.1, *spelled(" blah ")]
        try:
            return await super().ask(ask)
        finally:
            self.script = kept


def picture(n: int) -> dict[str, Any]:
    return {"mime_type": "image/jpeg", "data": pcm(np.full(4, n / 100))}


def test_what_is_spoken_is_answered_when_it_ends() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.hear(SPEECH)
        assert said(await client.turn()) == "hello"

    (turn,) = talk(work).desk.asked.document.turns
    (recording,) = turn.parts
    assert isinstance(recording, Media) and recording.mime == "audio/wav"
    assert len(open_sound(recording.data, recording.mime)) == pytest.approx(1.3 * RATE, rel=0.05)


def test_nobody_answers_silence() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.hear(quiet(3.0))
        await client.nothing()

    assert talk(work).desk.asks == []


def test_the_client_may_say_when_the_user_is_active() -> None:
    async def work(client: Client) -> None:
        await client.set_up(**BY_HAND)
        client.hear(tone(1.0))
        client.send(realtimeInput={"activityStart": {}})
        client.hear(quiet(0.5, rate=8_000), rate=8_000)
        client.send(realtimeInput={"text": "and this"})
        await client.nothing()
        client.send(realtimeInput={"activityEnd": {}})
        assert said(await client.turn()) == "hello"

    (turn,) = talk(work).desk.asked.document.turns
    recording, text = turn.parts
    assert text == Text("and this")
    assert isinstance(recording, Media)
    assert len(open_sound(recording.data, "audio/wav")) == RATE // 2


def test_an_activity_in_which_nothing_was_said_is_not_answered() -> None:
    async def work(client: Client) -> None:
        await client.set_up(**BY_HAND)
        client.send(realtimeInput={"activityStart": {}})
        client.send(realtimeInput={"activityEnd": {}})
        await client.nothing()

    assert talk(work).desk.asks == []


def test_the_end_of_the_stream_ends_the_turn() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.hear(np.concatenate([quiet(0.5), tone(0.5)]))
        client.send(realtimeInput={"audioStreamEnd": True})
        assert said(await client.turn()) == "hello"
        client.send(realtimeInput={"audioStreamEnd": True})
        await client.nothing()

    assert len(talk(work).desk.asks) == 1


def test_text_alone_is_a_turn() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        client.send(realtime_input={"text": "hi"})
        assert said(await client.turn()) == "hello"

    assert talk(work).desk.asked.document.turns[0].parts == (Text("hi"),)


def test_speaking_cuts_a_reply_short() -> None:
    desk = FakeDesk(script=[says("hel"), STILL])

    async def work(client: Client) -> None:
        await client.set_up(explicitVadSignal=True)
        client.send(realtimeInput={"text": "hi"})
        await client.receive()
        desk.script = spelled("ok")
        client.hear(SPEECH)
        started = await client.receive()
        assert started == {"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}}
        assert kinds(await client.turn()) == ["interrupted", "turnComplete"]
        ended = await client.receive()
        assert ended == {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}}
        assert said(await client.turn()) == "ok"

    talk(work, desk)
    assert desk.tickets[0].cancels
    roles = [turn.role for turn in desk.asks[1].document.turns]
    assert roles == ["user", "model", "user"]


def test_a_reply_that_may_not_be_interrupted_is_finished_first() -> None:
    desk = FakeDesk(script=[says("hel"), 0.3, says("lo", finish="stop")])

    async def work(client: Client) -> None:
        await client.set_up(**PATIENT)
        client.send(realtimeInput={"text": "a"})
        await client.receive()
        client.send(realtimeInput={"text": "b"})
        client.send(realtimeInput={"text": "c"})
        assert said(await client.turn()) == "lo"
        assert said(await client.turn()) == "hello"

    talk(work, desk)
    last = [turn.parts[0] for turn in desk.asks[1].document.turns]
    assert last == [Text("a"), Text("hello"), Text("bc")]


def test_what_was_said_is_written_down_before_the_turn_is_complete() -> None:
    desk = Listening()

    async def work(client: Client) -> None:
        await client.set_up(inputAudioTranscription={})
        client.hear(SPEECH)
        told = await client.turn()
        assert kinds(told) == ["generationComplete", "inputTranscription", "turnComplete"]
        assert told[-2]["serverContent"]["inputTranscription"] == {"text": "blah"}

    talk(work, desk)
    asked = [ask.document.turns for ask in desk.asks]
    (written,) = (turns[0] for turns in asked if len(turns[0].parts) == 2)
    (heard,) = (turns[0] for turns in asked if len(turns[0].parts) == 1)
    assert written.parts[0] == heard.parts[0]


def test_who_is_interrupted_is_still_written_down() -> None:
    desk = Listening(script=[says("hel"), STILL])

    async def work(client: Client) -> None:
        await client.set_up(inputAudioTranscription={})
        client.hear(SPEECH)
        await client.receive()
        desk.script = spelled("ok")
        client.hear(SPEECH)
        assert kinds(await client.turn())[-2:] == ["interrupted", "turnComplete"]
        assert kinds(await client.turn()).count("inputTranscription") == 2

    talk(work, desk)


def test_who_speaks_faster_than_the_model_writes_is_stopped() -> None:
    piece = {"audio": {"mimeType": "audio/pcm", "data": pcm(tone(0.1))}}
    spoken = [{"activityStart": {}}, piece, {"activityEnd": {}}] * (MOST_UNWRITTEN + 2)
    messages = [{"realtimeInput": each} for each in spoken]
    desk = FakeDesk(script=[STILL])
    ended = refusal(BY_HAND | {"inputAudioTranscription": {}}, *messages, desk=desk)
    assert (ended.code, ended.reason) == (1009, "More than 8 recordings wait to be written down")
    assert all(ticket.cancels for ticket in desk.tickets)


def test_a_recording_of_which_nothing_is_understood_has_no_transcription() -> None:
    desk = FakeDesk(script=[says(" ", finish="stop")])

    async def work(client: Client) -> None:
        await client.set_up(inputAudioTranscription={})
        client.hear(SPEECH)
        assert kinds(await client.turn()) == ["generationComplete", "turnComplete"]

    talk(work, desk)


def test_the_newest_pictures_of_the_camera_come_first_in_a_turn() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        for n in range(MOST_FRAMES + 2):
            client.send(realtimeInput={"video": picture(n)})
        client.send(realtimeInput={"mediaChunks": [picture(50)]})
        client.send(realtimeInput={"text": "what is this?"})
        await client.turn()
        client.send(realtimeInput={"text": "and now?"})
        await client.turn()

    desk = talk(work).desk
    parts = desk.asks[0].document.turns[0].parts
    assert len(parts) == MOST_FRAMES + 1 and parts[-1] == Text("what is this?")
    assert all(isinstance(part, Media) and part.mime == "image/jpeg" for part in parts[:-1])
    assert desk.asks[1].document.turns[-1].parts == (Text("and now?"),)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"activityStart": {}}, "Explicit activity control needs automaticActivityDetection"),
        ({"activityEnd": {}}, "Explicit activity control needs automaticActivityDetection"),
        (
            {"audio": {"mimeType": "audio/webm", "data": ""}},
            "realtimeInput.audio: sound is read as audio/pcm;rate=16000 (16 bits), not as",
        ),
        ({"audio": {"mimeType": "audio/pcm", "data": "?"}}, "the data of a medium is base64"),
        ({"audio": 3}, "Invalid value at 'realtimeInput.audio': an object is needed, not 3"),
        ({"text": 3}, "Invalid value at 'realtimeInput.text': a string is needed, not 3"),
        ({"video": {"mimeType": "video/mp4", "data": ""}}, "not as 'video/mp4'"),
    ],
)
def test_input_that_is_wrong_ends_the_session(message: dict[str, Any], reason: str) -> None:
    ended = refusal({}, {"realtimeInput": message})
    assert ended.code == 1007
    assert reason in ended.reason


def test_a_model_that_does_not_hear_says_so() -> None:
    sound = {"audio": {"mimeType": "audio/pcm", "data": pcm(tone(0.1))}}
    ended = refusal({}, {"realtimeInput": sound}, desk=FakeDesk(kinds=frozenset({"image"})))
    reason = "Unsupported MIME type: audio/wav. castor-fake reads image/*, text/*."
    assert (ended.code, ended.reason) == (1007, reason)


def test_a_picture_may_not_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.live_session.FRAME_BYTES", 4)
    ended = refusal({}, {"realtimeInput": {"video": picture(1)}})
    assert (ended.code, ended.reason) == (1009, "realtimeInput.video: a picture is at most 4 bytes")


def test_no_more_waits_than_there_is_room_for() -> None:
    words = {"realtimeInput": {"text": "a" * 300}}
    begin = {"realtimeInput": {"activityStart": {}}}
    ended = refusal(BY_HAND, begin, *[words] * 4, body_bytes=1000)
    assert (ended.code, ended.reason) == (1009, "More than 1000 bytes wait to be answered")


def test_large_pieces_of_sound_are_heard_like_small_ones() -> None:
    async def work(client: Client) -> None:
        await client.set_up()
        sound = np.concatenate([SPEECH, quiet(2.0)])
        blob = {"mimeType": "audio/pcm;rate=16000", "data": pcm(sound)}
        client.send(realtimeInput={"audio": blob})
        assert said(await client.turn()) == "hello"

    talk(work)
