"""llm with its plugin llm-gemini against a server at the address given.

The plugin has Google's address written into it, so it is run with that one string exchanged.
"""

import asyncio
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

import llm
from click.testing import CliRunner
from pydantic import BaseModel

GOOGLE = "https://generativelanguage.googleapis.com"
NAME = "gemini-2.5-flash"


class Answer(BaseModel):
    name: str
    size: int


def weather(city: str) -> str:
    """What the weather is like."""
    called.append(city)
    return f"clear over {city}"


called: list[str] = []


def readdress(address: str) -> None:
    """Have llm find the plugin with another address in it."""
    spec = importlib.util.find_spec("llm_gemini")
    source = Path(spec.origin).read_text()
    assert GOOGLE in source
    module = importlib.util.module_from_spec(spec)
    sys.modules["llm_gemini"] = module
    exec(compile(source.replace(GOOGLE, address), spec.origin, "exec"), module.__dict__)


def text() -> None:
    model = llm.get_model(NAME)
    reply = model.prompt("hi", system="be brief", temperature=0.5, max_output_tokens=9)
    assert reply.text() == "hello"
    assert (reply.resolved_model, reply.usage().output) == ("castor-fake", 2), reply.usage()
    talk = model.conversation()
    assert [talk.prompt("hi").text(), talk.prompt("and?").text()] == ["hello", "hello"]
    assert list(model.prompt("hi")) == ["hel", "lo"]


async def asynchronous() -> None:
    reply = llm.get_async_model(NAME).prompt("hi")
    assert [piece async for piece in reply] == ["hel", "lo"]


def schema() -> None:
    told = llm.get_model(NAME).prompt("hi", schema=Answer).text()
    assert Answer.model_validate_json(told) == Answer(name="word", size=1)


def tools() -> None:
    reply = llm.get_model(NAME).chain("weather?", tools=[weather])
    assert reply.text() == "done" and called == ["word"], called


def media() -> None:
    png = llm.Attachment(type="image/png", content=b"\xff\xef\xbf\x00png")
    reply = llm.get_model(NAME).prompt("what is this?", attachments=[png])
    assert reply.text() == "hello"
    assert reply.usage().input == 20, reply.usage()


def embeddings() -> None:
    model = llm.get_embedding_model("gemini-embedding-001")
    assert len(model.embed("a")) == 4
    assert [len(vector) for vector in model.embed_multi(["a", "b"])] == [4, 4]


def refusals() -> None:
    try:
        llm.get_model(NAME).prompt("x" * 1001).text()
    except llm.ModelError as error:
        assert "exceeds the maximum number of tokens" in str(error), error
    else:
        raise AssertionError("a prompt that is too long was answered")


def command() -> None:
    from llm.cli import cli  # it looks for plugins at once

    told = CliRunner().invoke(cli, ["-m", NAME, "hi"])
    assert (told.exit_code, told.output) == (0, "hello\n"), told
    told = CliRunner().invoke(cli, ["gemini", "models"])
    (model,) = json.loads(told.output)
    assert model["name"] == "models/castor-fake", told
    told = CliRunner().invoke(cli, ["logs", "--json"])
    assert json.loads(told.output)[0]["response"] == "hello", told


os.environ["LLM_GEMINI_KEY"] = "any"
readdress(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    os.environ["LLM_USER_PATH"] = folder
    for check in (text, schema, tools, media, embeddings, refusals, command):
        check()
    asyncio.run(asynchronous())
