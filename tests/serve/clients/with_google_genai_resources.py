"""google-genai's files, caches and batches against a whole server at the address given."""

import io
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

from google import genai
from google.genai import errors, types

MODEL = "gemini-2.5-flash"
TWO_PIECES = b"a line of a long text\n" * 400_000  # the client cuts after 8 MiB


def refused(code: int, words: str, method: object, **given: object) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            method(**given)
    except errors.APIError as error:
        assert error.code == code and words in error.message, error
    else:
        raise AssertionError(f"{method} was not refused")


def files(client: genai.Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "note.txt"
        path.write_text("note")
        file = client.files.upload(file=path, config={"display_name": "A note"})
    assert (file.display_name, file.mime_type, file.size_bytes) == ("A note", "text/plain", 4)
    assert file.state == types.FileState.ACTIVE
    assert client.files.get(name=file.name).sha256_hash == file.sha256_hash
    reply = client.models.generate_content(model=MODEL, contents=[file, "!"])
    assert reply.usage_metadata.prompt_token_count >= len("note!")
    config = {"mime_type": "text/plain", "name": "files/long"}
    long = client.files.upload(file=io.BytesIO(TWO_PIECES), config=config)
    assert (long.name, long.size_bytes) == ("files/long", len(TWO_PIECES))
    refused(409, "already exists", client.files.upload, file=io.BytesIO(b"a"), config=config)
    named = {each.name for each in client.files.list(config={"page_size": 1})}
    assert {file.name, long.name} <= named
    for each in (file, long):
        client.files.delete(name=each.name)
    words = f"You do not have permission to access the File {file.name.partition('/')[2]}"
    refused(403, words, client.files.get, name=file.name)


def caches(client: genai.Client) -> None:
    kept = types.CreateCachedContentConfig(
        contents=[types.Content(role="user", parts=[types.Part(text="a long begin")])],
        system_instruction="be brief",
        display_name="mine",
        ttl="60s",
    )
    cache = client.caches.create(model=MODEL, config=kept)
    assert cache.display_name == "mine" and cache.usage_metadata.total_token_count == 20
    found = client.caches.get(name=cache.name)
    assert found.expire_time == cache.expire_time
    config = types.GenerateContentConfig(cached_content=cache.name)
    reply = client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert reply.text == "hello" and reply.usage_metadata.prompt_token_count == 22
    later = client.caches.update(name=cache.name, config={"ttl": "600s"})
    assert later.expire_time > cache.expire_time
    assert cache.name in [each.name for each in client.caches.list()]
    config = types.GenerateContentConfig(cached_content=cache.name, system_instruction="x")
    words = "CachedContent can not be used with GenerateContent request"
    ask = client.models.generate_content
    refused(400, words, ask, model=MODEL, contents="hi", config=config)
    client.caches.delete(name=cache.name)
    refused(403, "CachedContent not found", client.caches.get, name=cache.name)


def over(client: genai.Client, job: types.BatchJob) -> types.BatchJob:
    late = time.monotonic() + 60
    while not job.done and time.monotonic() < late:
        time.sleep(0.05)
        job = client.batches.get(name=job.name)
    return job


def batches(client: genai.Client) -> None:
    asked = [{"contents": [{"parts": [{"text": text}]}]} for text in ("a", "x" * 1001)]
    job = client.batches.create(model=MODEL, src=asked, config={"display_name": "two"})
    assert job.display_name == "two", job
    job = over(client, job)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED, job
    good, bad = job.dest.inlined_responses
    assert good.response.text == "hello" and "exceeds the maximum" in bad.error.message, job
    assert job.name in [each.name for each in client.batches.list(config={"page_size": 1})]
    client.batches.cancel(name=job.name)
    client.batches.delete(name=job.name)
    refused(404, "", client.batches.get, name=job.name)


def batches_of_files(client: genai.Client) -> None:
    lines = [
        json.dumps({"key": key, "request": {"contents": [{"parts": [{"text": key}]}]}})
        for key in ("first", "second")
    ]
    config = {"mime_type": "jsonl"}
    file = client.files.upload(file=io.BytesIO("\n".join(lines).encode()), config=config)
    job = over(client, client.batches.create(model=MODEL, src=file.name))
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED, job
    written = client.files.download(file=job.dest.file_name)
    said = [json.loads(line) for line in written.splitlines()]
    assert [each["key"] for each in said] == ["first", "second"], said
    parts = said[0]["response"]["candidates"][0]["content"]["parts"]
    assert "".join(part["text"] for part in parts) == "hello"
    client.batches.delete(name=job.name)


def absent(client: genai.Client) -> None:
    source = {"inlined_requests": {"contents": [{"parts": [{"text": "a"}]}]}}
    for method, given in (
        (client.auth_tokens.create, {"config": {"uses": 1}}),
        (client.batches.create_embeddings, {"model": MODEL, "src": source}),
        (client.file_search_stores.list, {}),
    ):
        refused(501, "is not implemented by this server", method, **given)


client = genai.Client(api_key="any", http_options={"base_url": sys.argv[1]})
for check in (files, caches, batches, batches_of_files, absent):
    check(client)
