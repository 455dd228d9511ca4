"""google-adk's agents against a server at the address given: `python with_google_adk.py URL`."""

import asyncio
import os
import sys

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.events import Event
from google.adk.models import Gemini
from google.adk.runners import InMemoryRunner
from google.genai import types
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"
WHOLE = RunConfig(streaming_mode=StreamingMode.NONE)
STREAM = RunConfig(streaming_mode=StreamingMode.SSE)
called: list[str] = []


class Answer(BaseModel):
    name: str
    size: int


def weather(city: str) -> dict[str, str]:
    """What the weather is like."""
    called.append(city)
    return {"sky": f"clear over {city}"}


async def told(agent: LlmAgent, *prompts: str, config: RunConfig) -> list[Event]:
    """All events of a talk."""
    async with InMemoryRunner(agent=agent, app_name="castor") as runner:
        session = await runner.session_service.create_session(app_name="castor", user_id="me")
        events: list[Event] = []
        for prompt in prompts:
            message = types.Content(role="user", parts=[types.Part(text=prompt)])
            given = {"user_id": "me", "session_id": session.id, "new_message": message}
            events += [event async for event in runner.run_async(**given, run_config=config)]
    return events


def said(events: list[Event]) -> list[str]:
    """What was said in the end, for each prompt."""
    finals = [event for event in events if event.is_final_response() and not event.partial]
    return ["".join(part.text or "" for part in event.content.parts) for event in finals]


async def text(model: Gemini | str) -> None:
    agent = LlmAgent(name="brief", model=model, instruction="Be brief.")
    events = await told(agent, "hi", "and?", config=WHOLE)
    assert said(events) == ["hello", "hello"], events
    assert events[0].usage_metadata.candidates_token_count == 2
    events = await told(agent, "hi", "and?", config=STREAM)
    pieces = [event.content.parts[0].text for event in events if event.partial]
    assert pieces == ["hel", "lo"] * 2, events
    assert said(events) == ["hello", "hello"], events


async def tools(model: Gemini) -> None:
    agent = LlmAgent(name="forecaster", model=model, instruction="Be brief.", tools=[weather])
    for config in (WHOLE, STREAM):
        called.clear()
        events = await told(agent, "weather?", config=config)
        calls = [call for event in events for call in event.get_function_calls()]
        answers = [answer for event in events for answer in event.get_function_responses()]
        assert called == ["word"] and said(events) == ["done"], events
        assert {call.id for call in calls} == {answer.id for answer in answers}, events
        assert answers[0].response == {"sky": "clear over word"}


async def schemas(model: Gemini) -> None:
    agent = LlmAgent(name="exact", model=model, output_schema=Answer)
    (answer,) = said(await told(agent, "hi", config=WHOLE))
    assert Answer.model_validate_json(answer) == Answer(name="word", size=1)


async def refusals() -> None:
    agent = LlmAgent(name="lost", model=Gemini(model="nope", base_url=sys.argv[1]))
    try:
        events = await told(agent, "hi", config=WHOLE)
    except Exception as error:
        assert "models/nope is not found" in str(error), error
    else:
        raise AssertionError(f"an unknown model was answered: {events}")


async def main() -> None:
    model = Gemini(model=MODEL, base_url=sys.argv[1])
    for check in (text, tools, schemas):
        await check(model)
    await refusals()
    os.environ["GOOGLE_GEMINI_BASE_URL"] = sys.argv[1]
    await text(MODEL)


os.environ["GEMINI_API_KEY"] = "any"
asyncio.run(main())
