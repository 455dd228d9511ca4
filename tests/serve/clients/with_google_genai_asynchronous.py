"""google-genai's asynchronous client against a whole server at the address given."""

import asyncio
import io
import sys
import time

from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient

MODEL = "gemini-2.5-flash"
PROMPT = [types.Content(role="user", parts=[types.Part(text="a long begin")])]


async def weather(city: str) -> dict[str, str]:
    """What the weather is like."""
    return {"sky": f"clear over {city}"}


async def text(client: AsyncClient) -> None:
    reply = await client.models.generate_content(model=MODEL, contents="hi")
    assert reply.text == "hello", reply
    stream = await client.models.generate_content_stream(model=MODEL, contents="hi")
    chunks = [chunk async for chunk in stream]
    assert [chunk.text for chunk in chunks] == ["hel", "lo"]
    assert chunks[-1].usage_metadata.total_token_count == 4
    counted = await client.models.count_tokens(model=MODEL, contents="hi")
    assert counted.total_tokens == 2
    replies = await asyncio.gather(
        *(client.models.generate_content(model=MODEL, contents="hi") for _ in range(8))
    )
    assert [reply.text for reply in replies] == ["hello"] * 8


async def chat(client: AsyncClient) -> None:
    talk = client.chats.create(model=MODEL)
    assert (await talk.send_message("hi")).text == "hello"
    said = [chunk.text async for chunk in await talk.send_message_stream("and?")]
    assert "".join(said) == "hello"
    talk = client.chats.create(model=MODEL, config={"tools": [weather]})
    assert (await talk.send_message("weather?")).text == "done"
    answer = talk.get_history()[2].parts[0].function_response
    assert answer.name == "weather" and "clear over word" in str(answer.response), answer


async def models(client: AsyncClient) -> None:
    listed = [model.name async for model in await client.models.list()]
    assert listed == ["models/castor-fake"]
    assert (await client.models.get(model=listed[0])).output_token_limit == 1000
    told = await client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert [len(each.values) for each in told.embeddings] == [4, 4]


async def files(client: AsyncClient) -> None:
    config = {"mime_type": "text/plain", "display_name": "A note"}
    file = await client.files.upload(file=io.BytesIO(b"note"), config=config)
    assert (await client.files.get(name=file.name)).display_name == "A note"
    reply = await client.models.generate_content(model=MODEL, contents=[file, "!"])
    assert reply.text == "hello"
    assert file.name in [each.name async for each in await client.files.list()]
    await client.files.delete(name=file.name)


async def caches(client: AsyncClient) -> None:
    cache = await client.caches.create(model=MODEL, config={"contents": PROMPT, "ttl": "60s"})
    config = types.GenerateContentConfig(cached_content=cache.name)
    reply = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert reply.usage_metadata.prompt_token_count == 14
    await client.caches.update(name=cache.name, config={"ttl": "600s"})
    later = await client.caches.get(name=cache.name)
    assert later.expire_time > cache.expire_time
    assert cache.name in [each.name async for each in await client.caches.list()]
    await client.caches.delete(name=cache.name)


async def batches(client: AsyncClient) -> None:
    job = await client.batches.create(model=MODEL, src=[{"contents": PROMPT}])
    late = time.monotonic() + 60
    while not job.done and time.monotonic() < late:
        await asyncio.sleep(0.05)
        job = await client.batches.get(name=job.name)
    (answer,) = job.dest.inlined_responses
    assert answer.response.text == "hello", job
    assert job.name in [each.name async for each in await client.batches.list()]
    await client.batches.cancel(name=job.name)
    await client.batches.delete(name=job.name)


async def refusals(client: AsyncClient) -> None:
    try:
        await client.models.generate_content(model="nope", contents="hi")
    except errors.ClientError as error:
        assert error.code == 404 and "models/nope is not found" in error.message
    else:
        raise AssertionError("an unknown model was answered")
    try:
        stream = await client.models.generate_content_stream(model=MODEL, contents="x" * 1001)
        async for _ in stream:
            pass
    except errors.ClientError as error:
        assert error.code == 400 and "exceeds the maximum number of tokens" in error.message
    else:
        raise AssertionError("a prompt that is too long was answered")


async def main() -> None:
    whole = genai.Client(api_key="any", http_options={"base_url": sys.argv[1]})
    async with whole.aio as client:
        for check in (text, chat, models, files, caches, batches, refusals):
            await check(client)


asyncio.run(main())
