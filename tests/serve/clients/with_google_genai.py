"""google-genai against a server at the address given: `python with_google_genai.py URL`."""

import asyncio
import enum
import sys

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"


class Answer(BaseModel):
    name: str
    size: int


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


def weather(city: str) -> dict[str, str]:
    """What the weather is like."""
    called.append(city)
    return {"sky": f"clear over {city}"}


called: list[str] = []


def text(client: genai.Client) -> None:
    reply = client.models.generate_content(model=MODEL, contents="hi")
    assert reply.text == "hello", reply
    assert reply.model_version == "castor-fake"
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP
    counted = client.models.count_tokens(model=MODEL, contents="hi")
    assert counted.total_tokens == reply.usage_metadata.prompt_token_count == 2


def stream(client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    assert [chunk.text for chunk in chunks] == ["hel", "lo"]
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count == 4
    assert len({chunk.response_id for chunk in chunks}) == 1


async def asynchronous(client: genai.Client) -> None:
    said = ""
    async for chunk in await client.aio.models.generate_content_stream(model=MODEL, contents="hi"):
        said += chunk.text
    assert said == "hello"


def settings(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="be brief",
        temperature=0.5,
        top_k=40,
        top_p=0.9,
        seed=7,
        candidate_count=2,
        max_output_tokens=5,
        stop_sequences=["."],
        response_logprobs=True,
        logprobs=2,
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=100),
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                threshold=types.HarmBlockThreshold.OFF,
            )
        ],
    )
    reply = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert [c.index for c in reply.candidates] == [0, 1]
    chosen = reply.candidates[1].logprobs_result.chosen_candidates
    assert [token.token for token in chosen] == ["hel", "lo"]
    assert reply.candidates[0].avg_logprobs == -0.5


def media(client: genai.Client) -> None:
    picture = types.Part.from_bytes(data=b"\xff\xef\xbf\x00png", mime_type="image/png")
    reply = client.models.generate_content(model=MODEL, contents=[picture, "what is this?"])
    modalities = {
        each.modality.value: each.token_count for each in reply.usage_metadata.prompt_tokens_details
    }
    assert modalities == {"TEXT": 13, "IMAGE": 7}, modalities


def pictures(client: genai.Client) -> None:
    config = {"response_modalities": ["TEXT", "IMAGE"]}
    reply = client.models.generate_content(model=MODEL, contents="a star", config=config)
    said, drawn = reply.candidates[0].content.parts
    assert said.text == "here: " and drawn.inline_data.mime_type == "image/png"
    assert drawn.inline_data.data.startswith(b"\x89PNG")
    config = {"response_modalities": ["IMAGE"], "image_config": {"image_size": "1K"}}
    chunks = list(
        client.models.generate_content_stream(model=MODEL, contents="a star", config=config)
    )
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert [part.inline_data.data for part in parts if part.inline_data] == [drawn.inline_data.data]


def schemas(client: genai.Client) -> None:
    config = {"response_mime_type": "application/json", "response_schema": Answer}
    reply = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert reply.parsed == Answer(name="word", size=1), reply
    schema = Answer.model_json_schema()
    config = {"response_mime_type": "application/json", "response_json_schema": schema}
    reply = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert reply.parsed == {"name": "word", "size": 1}, reply
    config = {"response_mime_type": "text/x.enum", "response_schema": Color}
    reply = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert reply.parsed == Color.RED, reply


def tools(client: genai.Client) -> None:
    config = types.GenerateContentConfig(tools=[weather])
    reply = client.models.generate_content(model=MODEL, contents="weather?", config=config)
    assert called == ["word"]
    assert reply.text == "done"
    chat = client.chats.create(model=MODEL, config=config)
    assert chat.send_message("weather?").text == "done"
    assert chat.send_message("again?").text == "done"


def chat(client: genai.Client) -> None:
    talk = client.chats.create(model=MODEL)
    assert talk.send_message("hi").text == "hello"
    assert "".join(chunk.text for chunk in talk.send_message_stream("and?")) == "hello"
    assert talk.send_message("once more?").text == "hello"  # the history has a turn for each chunk


def models(client: genai.Client) -> None:
    (model,) = list(client.models.list())
    assert model.name == "models/castor-fake"
    assert client.models.get(model=model.name).input_token_limit == 1000


def embeddings(client: genai.Client) -> None:
    config = {"output_dimensionality": 2, "task_type": "RETRIEVAL_QUERY"}
    told = client.models.embed_content(
        model="gemini-embedding-001", contents=["a", "bcd"], config=config
    )
    assert [len(each.values) for each in told.embeddings] == [2, 2]
    told = client.models.embed_content(model="gemini-embedding-2", contents=["a", "bcd"])
    assert [len(each.values) for each in told.embeddings] == [4]  # one vector of all parts


def refusals(client: genai.Client) -> None:
    try:
        client.models.generate_content(model="nope", contents="hi")
    except errors.ClientError as error:
        assert error.code == 404 and error.status == "NOT_FOUND", error
        assert "models/nope is not found" in error.message
    else:
        raise AssertionError("an unknown model was answered")
    try:
        list(client.models.generate_content_stream(model=MODEL, contents="x" * 1001))
    except errors.ClientError as error:
        assert error.code == 400 and "exceeds the maximum number of tokens" in error.message
    else:
        raise AssertionError("a prompt that is too long was answered")


def main() -> None:
    client = genai.Client(api_key="any", http_options={"base_url": sys.argv[1]})
    for check in (
        *(text, stream, settings, media, pictures, schemas, tools, chat),
        *(models, embeddings, refusals),
    ):
        check(client)
    asyncio.run(asynchronous(client))


main()
