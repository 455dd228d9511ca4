"""google-genai's live sessions against a server at an https address: `… live_google_genai.py URL`.

The certificate of the server must be in the file that SSL_CERT_FILE names.
"""

import asyncio
import math
import struct
import sys
from typing import Any

from google import genai
from google.genai import errors, types

MODEL = "gemini-live-2.5-flash-preview"
TEXT: dict[str, Any] = {"response_modalities": ["TEXT"]}
LIGHTS = {
    "name": "turn_on_the_lights",
    "parameters": {"type": "OBJECT", "properties": {"on": {"type": "BOOLEAN"}}},
}


def pcm(seconds: float, loudness: float) -> types.Blob:
    count = round(16_000 * seconds)
    levels = [round(32767 * loudness * math.sin(0.17 * n)) for n in range(count)]
    return types.Blob(data=struct.pack(f"<{count}h", *levels), mime_type="audio/pcm;rate=16000")


async def heard(session: Any) -> tuple[str, list[types.LiveServerMessage]]:
    messages = [message async for message in session.receive()]
    return "".join(message.text or "" for message in messages), messages


async def text(client: genai.Client) -> None:
    config = TEXT | {"system_instruction": "Be brief.", "temperature": 0.5, "tools": [lights]}
    async with client.aio.live.connect(model=MODEL, config=TEXT) as session:
        assert session.session_id
        turn = types.Content(role="user", parts=[types.Part(text="hi")])
        await session.send_client_content(turns=turn)
        said, messages = await heard(session)
        assert said == "hello", messages
        assert messages[-1].usage_metadata.response_token_count == 2
        await session.send_client_content(
            turns=[
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "b"}]},
            ],
            turn_complete=False,
        )
        await session.send_realtime_input(text="c")
        assert (await heard(session))[0] == "hello"
    async with client.aio.live.connect(model=MODEL, config=config):
        pass


def lights(on: bool) -> str:
    """Turns the lights on or off."""
    return f"they are {'on' if on else 'off'}"


async def sound(client: genai.Client) -> None:
    config = TEXT | {"input_audio_transcription": {}, "output_audio_transcription": {}}
    config |= {"context_window_compression": {"trigger_tokens": 25600, "sliding_window": {}}}
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        for seconds, loudness in ((0.5, 0.0), (0.6, 0.3), (1.0, 0.0)):
            await session.send_realtime_input(audio=pcm(seconds, loudness))
        _, messages = await heard(session)
        contents = [message.server_content for message in messages if message.server_content]
        written = [c.input_transcription.text for c in contents if c.input_transcription]
        spoken = [c.output_transcription.text for c in contents if c.output_transcription]
        assert written == ["hello"] and "".join(spoken) == "hello", contents
    by_hand = {"automatic_activity_detection": {"disabled": True}}
    config = TEXT | {"realtime_input_config": by_hand}
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        await session.send_realtime_input(activity_start=types.ActivityStart())
        await session.send_realtime_input(audio=pcm(0.3, 0.3))
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        assert (await heard(session))[0] == "hello"


async def tools(client: genai.Client) -> None:
    config = TEXT | {"tools": [{"function_declarations": [LIGHTS]}]}
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        await session.send_client_content(turns={"parts": [{"text": "lights"}]})
        said = ""
        async for message in session.receive():
            said += message.text or ""
            for call in message.tool_call.function_calls if message.tool_call else []:
                assert (call.name, call.args) == ("turn_on_the_lights", {"on": True})
                response = types.FunctionResponse(
                    id=call.id, name=call.name, response={"result": "ok"}
                )
                await session.send_tool_response(function_responses=response)
        assert said == "done"


async def refusals(client: genai.Client) -> None:
    for model, config, code, reason in (
        (MODEL, {"response_modalities": ["AUDIO"]}, 1007, "replies in text, without speech"),
        ("nope", TEXT, 1008, "models/nope is not found"),
        (MODEL, TEXT | {"tools": [{"google_search": {}}]}, 1007, "googleSearch is not supported"),
    ):
        try:
            async with client.aio.live.connect(model=model, config=config):
                raise AssertionError(f"{config} was not refused")
        except errors.APIError as error:
            assert error.code == code and reason in str(error), error


async def main(address: str) -> None:
    for version in ("v1", "v1beta"):
        options = types.HttpOptions(base_url=address, api_version=version)
        client = genai.Client(api_key="local", http_options=options)
        for work in (text, sound, tools, refusals):
            await work(client)


asyncio.run(main(sys.argv[1]))
