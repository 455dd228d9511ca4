"""pydantic-ai against a server at the address given."""

import asyncio
import sys

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider


class Answer(BaseModel):
    name: str
    size: int


model = GoogleModel(
    "gemini-2.5-flash", provider=GoogleProvider(api_key="any", base_url=sys.argv[1])
)
agent = Agent(model, instructions="be brief")
assert agent.run_sync("hi").output == "hello"
assert Agent(model, output_type=Answer).run_sync("hi").output == Answer(name="word", size=1)
called: list[str] = []


def weather(city: str) -> str:
    """What the weather is like."""
    called.append(city)
    return "clear"


assert Agent(model, tools=[weather]).run_sync("weather?").output == "done"
assert called == ["word"]


async def streamed() -> str:
    async with agent.run_stream("hi") as reply:
        return await reply.get_output()


assert asyncio.run(streamed()) == "hello"
