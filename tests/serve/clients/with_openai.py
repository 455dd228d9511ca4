"""openai against a server at the address given: `python with_openai.py URL`."""

import json
import sys

import openai
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is like.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Answer(BaseModel):
    name: str
    size: int


def text(client: openai.OpenAI) -> None:
    asked = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
    reply = client.chat.completions.create(
        model=MODEL, messages=asked, n=2, logprobs=True, top_logprobs=2, seed=3, max_tokens=9
    )
    assert [choice.message.content for choice in reply.choices] == ["hello"] * 2
    assert reply.choices[0].finish_reason == "stop"
    assert [token.token for token in reply.choices[1].logprobs.content] == ["hel", "lo"]
    assert reply.usage.total_tokens == 14, reply.usage


def stream(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert said == ["", "hel", "lo", None], said
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 2


def tools(client: openai.OpenAI) -> None:
    asked = [{"role": "user", "content": "weather?"}]
    reply = client.chat.completions.create(model=MODEL, messages=asked, tools=[TOOL])
    choice = reply.choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"city": "word"}
    asked += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "clear"}]
    reply = client.chat.completions.create(model=MODEL, messages=asked, tools=[TOOL])
    assert reply.choices[0].message.content == "done"
    chunks = client.chat.completions.create(
        model=MODEL, messages=asked[:1], tools=[TOOL], tool_choice="required", stream=True
    )
    deltas = [c.choices[0].delta.tool_calls for c in chunks]
    (told,) = [delta for delta in deltas if delta]
    assert told[0].function.name == "weather" and told[0].id


def schemas(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], response_format=Answer
    )
    assert reply.choices[0].message.parsed == Answer(name="word", size=1)


def media(client: openai.OpenAI) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}},
        {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "wav"}},
        {"type": "text", "text": "?"},
    ]
    asked = [{"role": "user", "content": parts}]
    reply = client.chat.completions.create(model=MODEL, messages=asked)
    assert reply.usage.prompt_tokens == 15


def embeddings(client: openai.OpenAI) -> None:
    told = client.embeddings.create(model="text-embedding-004", input=["a", "bcd"], dimensions=2)
    assert [len(each.embedding) for each in told.data] == [2, 2]
    assert abs(sum(x * x for x in told.data[0].embedding) - 1) < 1e-6


def models(client: openai.OpenAI) -> None:
    (model,) = list(client.models.list())
    assert model.id == "castor-fake"
    assert client.models.retrieve(model.id).owned_by == "castor"


def refusals(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "a"}])
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was answered")


for base in ("/v1", "/v1beta/openai"):
    client = openai.OpenAI(base_url=sys.argv[1] + base, api_key="any")
    for check in (text, stream, tools, schemas, media, embeddings, models, refusals):
        check(client)
