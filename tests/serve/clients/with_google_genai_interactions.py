"""google-genai's interactions against a server at the address given (from google-genai 3)."""

import sys

from google import genai
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "What the weather is like.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Answer(BaseModel):
    name: str


def text(client: genai.Client) -> None:
    told = client.interactions.create(model=MODEL, input="hi", system_instruction="be brief")
    assert told.status == "completed" and told.output_text == "hello", told
    assert told.usage.total_tokens == 12, told.usage
    later = client.interactions.create(model=MODEL, input="x", previous_interaction_id=told.id)
    assert later.usage.total_input_tokens == len("hi" + "hello" + "x")
    assert client.interactions.get(told.id).output_text == "hello"
    client.interactions.delete(told.id)
    try:
        client.interactions.get(told.id)
    except Exception as error:
        assert "404" in str(error) or "not found" in str(error), error
    else:
        raise AssertionError("a deleted interaction was found")


def media(client: genai.Client) -> None:
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image", "data": "AAEC", "mime_type": "image/png"},
    ]
    told = client.interactions.create(model=MODEL, input=parts, generation_config={"seed": 1})
    assert told.usage.total_input_tokens == 12, told.usage


def tools(client: genai.Client) -> None:
    told = client.interactions.create(model=MODEL, input="weather?", tools=[TOOL])
    assert told.status == "requires_action", told
    (call,) = told.steps
    assert call.name == "weather" and call.arguments == {"city": "word"}
    result = {"type": "function_result", "name": call.name, "call_id": call.id, "result": "clear"}
    told = client.interactions.create(
        model=MODEL, input=[result], tools=[TOOL], previous_interaction_id=told.id
    )
    assert told.output_text == "done", told


def schema(client: genai.Client) -> None:
    form = {
        "type": "text",
        "mime_type": "application/json",
        "schema": Answer.model_json_schema(),
    }
    told = client.interactions.create(model=MODEL, input="hi", response_format=form)
    assert Answer.model_validate_json(told.output_text) == Answer(name="word")


def stream(client: genai.Client) -> None:
    said, kinds = "", []
    for event in client.interactions.create(model=MODEL, input="hi", stream=True):
        kinds.append(event.event_type)
        if event.event_type == "step.delta" and event.delta.type == "text":
            said += event.delta.text
    assert said == "hello"
    assert kinds[0] == "interaction.created" and kinds[-1] == "interaction.completed", kinds


def refusals(client: genai.Client) -> None:
    try:
        client.interactions.create(model=MODEL, input="hi", background=True)
    except Exception as error:
        assert "not supported by this server" in str(error), error
    else:
        raise AssertionError("a background interaction was begun")


client = genai.Client(api_key="any", http_options={"base_url": sys.argv[1]})
for check in (text, media, tools, schema, stream, refusals):
    check(client)
