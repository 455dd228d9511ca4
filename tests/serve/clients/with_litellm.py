"""litellm as a Gemini client, against a server at the address given."""

import sys

import litellm

MODEL = "gemini/gemini-2.5-flash"
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is like.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

for base in (sys.argv[1], sys.argv[1] + "/v1beta"):
    known = {"model": MODEL, "api_base": base, "api_key": "any"}
    reply = litellm.completion(messages=ASKED, temperature=0, **known)
    assert reply.choices[0].message.content == "hello", reply
    assert reply.usage.total_tokens > 2
    said = [
        chunk.choices[0].delta.content or ""
        for chunk in litellm.completion(messages=ASKED, stream=True, **known)
    ]
    assert "".join(said) == "hello", said
    reply = litellm.completion(messages=ASKED, tools=[TOOL], **known)
    message = reply.choices[0].message
    (call,) = message.tool_calls
    answered = [*ASKED, message, {"role": "tool", "tool_call_id": call.id, "content": "clear"}]
    reply = litellm.completion(messages=answered, tools=[TOOL], **known)
    assert reply.choices[0].message.content == "done", reply
    form = {"type": "json_object"}
    reply = litellm.completion(messages=ASKED, response_format=form, **known)
    assert reply.choices[0].message.content == "{}", reply
