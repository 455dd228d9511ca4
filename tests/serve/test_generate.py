"""generateContent, whole: what the engine is asked, what comes back, and every refusal."""

import asyncio
from typing import Any

import pytest

from castor.core.content import Call, Document, Media, Text
from castor.sample.ask import MOST_CANDIDATES, Busy, Failed, Late
from castor.serve.generate import answer, count
from castor.serve.refusal import Refusal
from castor.serve.service import Settings

from .driver import GENERATE, HI, STREAM, client_of, post, refused
from .fake_desk import FakeDesk, Language, says, token

DECLARED = {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}
CALL = {"functionCall": {"name": "f", "args": {}}}
RESPONSE = {"functionResponse": {"name": "f", "response": {}}}
JSON = {"generationConfig": {"responseMimeType": "application/json"}}


def test_a_reply_has_a_candidate_its_usage_the_model_and_an_id() -> None:
    told = post(client_of(), GENERATE, HI)
    assert told.pop("responseId")
    assert told == {
        "candidates": [
            {
                "content": {"parts": [{"text": "hello"}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
                "avgLogprobs": -0.5,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 2,
            "candidatesTokenCount": 2,
            "totalTokenCount": 4,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
        },
        "modelVersion": "castor-fake",
    }


def test_the_engine_is_asked_for_the_conversation() -> None:
    desk = FakeDesk()
    post(client_of(desk), GENERATE, HI | {"generationConfig": {"candidateCount": 2, "seed": 4}})
    assert desk.asked.document == Document.of("hi")
    assert (desk.asked.candidates, desk.asked.sampling.seed) == (2, 4)
    assert desk.asked.deadline_s is None and desk.asked.constraint is None


def test_candidates_are_told_apart() -> None:
    told = post(client_of(), GENERATE, HI | {"generationConfig": {"candidateCount": 3}})
    assert [each["index"] for each in told["candidates"]] == [0, 1, 2]
    assert told["usageMetadata"]["candidatesTokenCount"] == 6


def test_a_reply_that_was_cut_says_so_and_one_that_is_empty_has_an_empty_text() -> None:
    desk = FakeDesk(script=[says(finish="length", tokens=[])])
    (told,) = post(client_of(desk), GENERATE, HI)["candidates"]
    assert told["finishReason"] == "MAX_TOKENS"
    assert told["content"]["parts"] == [{"text": ""}] and "avgLogprobs" not in told


def test_pictures_and_text_come_in_their_order() -> None:
    picture = Media("image/png", b"\xff\xef")
    desk = FakeDesk(script=[says("a"), says("b"), says(picture), says("c", finish="stop")])
    wire = HI | {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    (told,) = post(client_of(desk), GENERATE, wire)["candidates"]
    assert told["content"]["parts"] == [
        {"text": "ab"},
        {"inlineData": {"mimeType": "image/png", "data": "/+8="}},
        {"text": "c"},
    ]
    assert desk.asked.sampling.pictures == "allowed"


def test_calls_are_given_ids_and_the_reply_ends_with_stop() -> None:
    calls = (Call("f", {"a": 1}), Call("f", {"a": 2}, "own"))
    desk = FakeDesk(script=[says(*calls, finish="stop")])
    (told,) = post(client_of(desk), GENERATE, HI | {"tools": [DECLARED]})["candidates"]
    first, second = (part["functionCall"] for part in told["content"]["parts"])
    assert first["args"] == {"a": 1} and first["id"]
    assert second == {"name": "f", "id": "own", "args": {"a": 2}}
    assert told["finishReason"] == "STOP"


def test_functions_reach_the_engine_as_text_and_as_a_language() -> None:
    desk = FakeDesk()
    config = {"functionCallingConfig": {"mode": "ANY"}}
    wire = HI | {"tools": DECLARED, "toolConfig": config, "systemInstruction": "be brief"}
    post(client_of(desk), GENERATE, wire)
    schema = {"type": "object"}
    assert desk.asked.constraint == Language("calls", ({"f": schema}, "any"))
    system = desk.asked.document.turns[0]
    line = '{"name":"f","parameters":{"type":"object"}}'
    assert system.role == "system" and system.parts == (Text(f"be brief\n\n{line}"),)


def test_without_a_mode_nothing_is_declared_or_called() -> None:
    desk = FakeDesk()
    none = {"functionCallingConfig": {"mode": "none"}}
    post(client_of(desk), GENERATE, HI | {"tools": [DECLARED], "tool_config": none})
    assert desk.asked.constraint is None and desk.asked.document == Document.of("hi")


def test_json_is_a_language() -> None:
    desk = FakeDesk()
    told = post(client_of(desk), GENERATE, HI | JSON)
    assert desk.asked.constraint == Language("json", None)
    assert told["candidates"][0]["content"]["parts"] == [{"text": "{}"}]


def test_probabilities_are_told_where_they_are_asked_for() -> None:
    script = [
        says("a", tokens=[token("a", -0.25, ("a", -0.25), ("bb", -2.0))]),
        says("é", tokens=[token("é", -0.75)], finish="stop"),
    ]
    desk = FakeDesk(script=script)
    wire = HI | {"generationConfig": {"responseLogprobs": True, "logprobs": 2}}
    (told,) = post(client_of(desk), GENERATE, wire)["candidates"]
    assert desk.asked.alternatives == 2
    assert told["avgLogprobs"] == -0.5
    result = told["logprobsResult"]
    assert result["logProbabilitySum"] == -1
    assert result["chosenCandidates"] == [
        {"token": "a", "tokenId": 1, "logProbability": -0.25},
        {"token": "é", "tokenId": 1, "logProbability": -0.75},
    ]
    assert [each["token"] for each in result["topCandidates"][0]["candidates"]] == ["a", "bb"]
    assert result["topCandidates"][1] == {"candidates": []}


def test_half_a_character_is_shown_as_a_token() -> None:
    half = token("")._replace(drawn=token("").drawn._replace(text=b"\xc3"))
    desk = FakeDesk(script=[says(tokens=[half]), says("é", finish="stop")])
    wire = HI | {"generationConfig": {"responseLogprobs": True}}
    (told,) = post(client_of(desk), GENERATE, wire)["candidates"]
    assert told["logprobsResult"]["chosenCandidates"][0]["token"] == "\ufffd"
    assert "topCandidates" not in told["logprobsResult"]


def test_what_the_engine_had_worked_out_before_is_told() -> None:
    usage = post(client_of(FakeDesk(reused=1)), GENERATE, HI)["usageMetadata"]
    assert usage["cachedContentTokenCount"] == 1


def test_the_deadline_of_the_client_is_the_engines() -> None:
    desk = FakeDesk()
    post(client_of(desk), GENERATE, HI, **{"x-server-timeout": "2.5"})
    assert desk.asked.deadline_s == 2.5


@pytest.mark.parametrize("told", ["soon", "0", "-1", "inf", "nan"])
def test_a_deadline_that_is_no_time_is_refused(told: str) -> None:
    response = client_of().post(GENERATE, json=HI, headers={"x-server-timeout": told})
    message = response.json()["error"]["message"]
    assert message == f"X-Server-Timeout is a number of seconds above 0; got {told!r}"


def test_an_unknown_model_is_told_as_google_tells_it() -> None:
    message = refused(client_of(), "/v1beta/models/nope:generateContent", HI, 404)
    assert message == (
        "models/nope is not found for API version v1beta, or is not supported for "
        "generateContent. Call ListModels to see the list of available models and their "
        "supported methods."
    )


def test_built_in_names_mean_the_loaded_model_unless_the_server_is_strict() -> None:
    path = "/v1beta/models/gemini-3.1-pro-preview:generateContent"
    assert post(client_of(), path, HI)["modelVersion"] == "castor-fake"
    message = refused(client_of(strict_models=True), path, HI, 404)
    assert message.startswith("models/gemini-3.1-pro-preview is not found for API version v1beta")


def test_unknown_fields_are_ignored_or_refused_as_google_refuses_them(caplog: Any) -> None:
    caplog.set_level("INFO", "castor.serve.requests")
    wire = {"contents": [{"parts": {"text": "hi", "role": "user"}}]}
    post(client_of(), GENERATE, wire)
    assert "ignored the unknown field 'role' at 'contents[0].parts'" in caplog.text
    response = client_of(strict=True).post(GENERATE, json=wire)
    error = response.json()["error"]
    told = (
        "Invalid JSON payload received. Unknown name \"role\" at 'contents[0].parts': "
        "Cannot find field."
    )
    assert (error["code"], error["message"]) == (400, told)
    (details,) = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert details["fieldViolations"] == [{"field": "contents[0].parts", "description": told}]


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({}, "* GenerateContentRequest.contents: contents is not specified"),
        ({"contents": []}, "* GenerateContentRequest.contents: contents is not specified"),
        (
            {"contents": [{"parts": [{"text": "x" * 1001}]}]},
            "The input token count (1001) exceeds the maximum number of tokens allowed (1000).",
        ),
        (
            {"contents": [{"role": "boss", "parts": [{"text": "a"}]}]},
            "Please use a valid role: user, model.",
        ),
        (
            {"contents": [{"role": "model", "parts": [CALL]}]},
            "Please ensure that function call turn comes immediately after a user turn or after a "
            "function response turn.",
        ),
        (
            {"contents": [*HI["contents"], {"role": "user", "parts": [RESPONSE]}]},
            "Please ensure that function response turn comes immediately after a function call "
            "turn.",
        ),
        (
            {
                "contents": [
                    *HI["contents"],
                    {"role": "model", "parts": [CALL, CALL]},
                    {"role": "user", "parts": [RESPONSE]},
                ]
            },
            "Please ensure that the number of function response parts is equal to the number of "
            "function call parts of the function call turn.",
        ),
        (
            HI | JSON | {"tools": [DECLARED]},
            "Function calling with a response mime type: 'application/json' is unsupported",
        ),
        (
            HI | {"generationConfig": {"responseMimeType": "text/x.enum"}} | {"tools": [DECLARED]},
            "generationConfig: `text/x.enum` needs a responseSchema with an enum of strings",
        ),
        (
            HI | {"tools": [DECLARED], "generationConfig": {"responseModalities": ["IMAGE"]}},
            "Function calling with pictures in the reply is unsupported",
        ),
        (
            HI | {"tools": [{"googleSearch": {}}]},
            "tools[0].googleSearch is not supported by this server",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": "%"}}]}]},
            "contents[0].parts[0]: the data of a medium is base64; got '%'",
        ),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(wire: Any, message: str) -> None:
    for path in (GENERATE, STREAM, STREAM.partition("?")[0]):
        assert refused(client_of(), path, wire) == message


def test_a_schema_that_cannot_be_kept_to_is_refused_with_its_path() -> None:
    desk = FakeDesk(refused="responseSchema.properties.a: 'not' is not supported")
    wire = HI | {"generationConfig": {"responseMimeType": "application/json"}}
    assert refused(client_of(desk), GENERATE, wire) == desk.refused


def held(name: str, model: str) -> dict[str, Any]:
    """A cache of one name, made for the loaded model."""
    if name != "cachedContents/abc":
        raise LookupError(name)
    if model != "castor-fake":
        raise ValueError("has to be the same")
    return {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [{"parts": [{"text": "long"}]}],
        "tools": [DECLARED],
    }


def test_a_cached_beginning_comes_before_the_request() -> None:
    desk = FakeDesk()
    client = client_of(desk, cached=held)
    post(client, GENERATE, HI | {"cachedContent": "cachedContents/abc"})
    system, user = desk.asked.document.turns
    assert isinstance(system.parts[0], Text) and system.parts[0].text.startswith("s\n\n{")
    assert user.parts == (Text("longhi"),)
    assert desk.asked.constraint is not None


@pytest.mark.parametrize(
    ("beside", "settings", "code", "message"),
    [
        ({"cachedContent": "cachedContents/no"}, {"cached": held}, 403, "CachedContent not found"),
        ({"cachedContent": "cachedContents/abc"}, {}, 403, "CachedContent not found"),
        (
            {"cachedContent": "cachedContents/abc", "systemInstruction": "a"},
            {"cached": held},
            400,
            "CachedContent can not be used with GenerateContent request setting "
            "system_instruction, tools or tool_config.",
        ),
    ],
)
def test_a_cache_that_cannot_be_used_is_refused(
    beside: Any, settings: Any, code: int, message: str
) -> None:
    assert refused(client_of(**settings), GENERATE, HI | beside, code).startswith(message)


def test_a_cache_of_another_model_is_refused() -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    wire = HI | {"cachedContent": "cachedContents/abc"}
    assert refused(client_of(cached=held), path, wire) == "has to be the same"


def test_a_missing_file_is_told_as_google_tells_it() -> None:
    def missing(uri: str) -> tuple[str, bytes]:
        raise LookupError(uri)

    part = {"fileData": {"fileUri": "https://a.example/v1beta/files/x1"}}
    message = refused(client_of(resolve_file=missing), GENERATE, {"contents": {"parts": part}}, 403)
    assert message == ("You do not have permission to access the File x1 or it may not exist.")


def test_a_request_is_answered_without_a_client_and_its_prompt_counted() -> None:
    desk = FakeDesk()
    told = asyncio.run(answer(desk, Settings(), model="castor-fake", wire=HI))
    assert told["candidates"][0]["content"]["parts"] == [{"text": "hello"}]
    assert desk.tickets[0].cancels == 1
    assert count({"systemInstruction": "abc"}, desk=desk, settings=Settings()).total == 3
    with pytest.raises(Refusal, match="contents is not specified"):
        asyncio.run(answer(desk, Settings(), model="castor-fake", wire={}))


@pytest.mark.parametrize(
    ("desk", "code"),
    [
        (FakeDesk(busy=Busy(1, 2)), 503),
        (FakeDesk(script=[Late()]), 504),
        (FakeDesk(script=[Failed("x")]), 500),
    ],
)
def test_without_a_client_the_engines_errors_are_refusals_too(desk: FakeDesk, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        asyncio.run(answer(desk, Settings(), model="models/castor-fake", wire=HI))
    assert caught.value.code == code
    assert all(ticket.cancels for ticket in desk.tickets)


def test_as_many_candidates_as_the_engine_gives() -> None:
    config = {"generationConfig": {"candidateCount": MOST_CANDIDATES}}
    assert len(post(client_of(), GENERATE, HI | config)["candidates"]) == MOST_CANDIDATES
