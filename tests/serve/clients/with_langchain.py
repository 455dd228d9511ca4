"""langchain-google-genai against a server at the address given."""

import sys

from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from pydantic import BaseModel


class Answer(BaseModel):
    """An answer."""

    name: str
    size: int


@tool
def weather(city: str) -> str:
    """What the weather is like."""
    return f"clear over {city}"


known = {"base_url": sys.argv[1], "google_api_key": "any"}
model = ChatGoogleGenerativeAI(model="gemini-2.5-flash", **known)
reply = model.invoke([("system", "be brief"), ("human", "hi")])
assert reply.text == "hello", reply
assert reply.usage_metadata["total_tokens"] == 12, reply.usage_metadata
assert "".join(chunk.text for chunk in model.stream("hi")) == "hello"
assert model.get_num_tokens("hi") == 2
assert model.with_structured_output(Answer).invoke("hi") == Answer(name="word", size=1)
with_tools = model.bind_tools([weather])
asked = [("human", "weather?")]
called = with_tools.invoke(asked)
(call,) = called.tool_calls
assert call["name"] == "weather" and call["args"] == {"city": "word"}, called
told = with_tools.invoke([*asked, called, weather.invoke(call)])
assert told.text == "done", told
embedder = GoogleGenerativeAIEmbeddings(model="gemini-embedding-001", **known)
assert len(embedder.embed_query("a")) == 4
assert [len(vector) for vector in embedder.embed_documents(["a", "b"])] == [4, 4]
