"""generationConfig as the engine's numbers, with the ranges of the API."""

from typing import Any

import pytest

from castor.serve.options import SEEDS, Options, options_of
from castor.serve.refusal import Refusal
from castor.serve.service import Settings

from .fake_desk import FakeDesk


def read(
    config: Any = None, *, desk: FakeDesk | None = None, grid: Any = None, **beside: Any
) -> Options:
    fields = {"generationConfig": config or {}, **beside}
    return options_of(fields, desk=desk or FakeDesk(), settings=Settings(grid=grid))


def test_every_number_reaches_the_engine() -> None:
    options = read(
        {
            "temperature": 0.5,
            "topP": "0.9",
            "topK": 40.0,
            "seed": "7",
            "maxOutputTokens": 12,
            "candidateCount": 3,
            "stopSequences": ["a", "b"],
            "presencePenalty": 1,
            "frequencyPenalty": -1,
            "responseLogprobs": True,
            "logprobs": 4,
        }
    )
    sampling = options.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 40)
    assert (sampling.seed, sampling.max_tokens, sampling.stop) == (7, 12, ("a", "b"))
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -1)
    assert options[1:] == (3, True, 4, None)


def test_what_is_not_said_is_as_the_server_is_set() -> None:
    sampling = read().sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 0.95, 64)
    assert sampling.max_tokens == FakeDesk().context and sampling.pictures == "never"
    assert read({"temperature": 0}).sampling.temperature == 0


def test_a_seed_is_kept_and_one_by_chance_is_another_each_time() -> None:
    assert read({"seed": -1}).sampling.seed == read({"seed": -1}).sampling.seed == SEEDS - 1
    assert len({read().sampling.seed for _ in range(8)}) > 1


def test_more_tokens_than_the_context_mean_all_of_it() -> None:
    assert read({"maxOutputTokens": 65536}).sampling.max_tokens == 1000


@pytest.mark.parametrize(
    ("field", "value", "range_"),
    [
        ("temperature", 2.1, "0 to 2"),
        ("topP", -0.1, "0 to 1"),
        ("topK", -1, "0 to 1000000"),
        ("candidateCount", 9, "1 to 8"),
        ("candidateCount", 0, "1 to 8"),
        ("maxOutputTokens", 0, "1 to 2147483647"),
        ("presencePenalty", 3, "-2 to 2"),
        ("frequencyPenalty", -3, "-2 to 2"),
        ("logprobs", 21, "0 to 20"),
    ],
)
def test_numbers_outside_their_range_are_refused(field: str, value: float, range_: str) -> None:
    message = f"generationConfig.{field}: {value} is outside the range {range_}"
    with pytest.raises(ValueError, match=message):
        read({field: value, "responseLogprobs": True})


SCHEMA = {"type": "OBJECT"}
JSON = {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("config", "language"),
    [
        ({}, None),
        ({"responseMimeType": "text/plain"}, None),
        (JSON, ("json", None)),
        ({**JSON, "responseSchema": SCHEMA}, ("openapi", SCHEMA)),
        ({**JSON, "responseJsonSchema": SCHEMA}, ("schema", SCHEMA)),
        (
            {"responseMimeType": "text/x.enum", "responseSchema": {"enum": ["a", "b"]}},
            ("enum", ["a", "b"]),
        ),
    ],
)
def test_a_mime_and_a_schema_are_a_language(config: dict[str, Any], language: Any) -> None:
    assert read(config).language == language


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**JSON, "responseSchema": {}, "responseJsonSchema": {}}, "not both"),
        ({"responseSchema": SCHEMA}, "a response schema needs responseMimeType `application/json`"),
        ({"responseMimeType": "text/html"}, "allowed are `text/plain`, .* got 'text/html'"),
        ({"responseMimeType": "text/x.enum"}, "needs a responseSchema with an enum of strings"),
        ({"logprobs": 3}, "generationConfig.logprobs: set only where responseLogprobs is true"),
        ({"stopSequences": list("abcdef")}, "stopSequences: 6 strings are more than 5"),
        ({"stopSequences": [""]}, "stopSequences: a stop string may not be empty"),
        ({"responseModalities": ["AUDIO"]}, "replies with IMAGE and TEXT, not with AUDIO"),
        ({"responseModalities": ["SMELL"]}, "'SMELL' is not one of"),
        ({**JSON, "responseModalities": ["IMAGE"]}, "JSON mode is not supported with pictures"),
        ({"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}, "not both"),
        ({"thinkingConfig": {"thinkingBudget": -2}}, "thinkingBudget: -2 is outside the range"),
        ({"thinkingConfig": {"thinkingLevel": "ODD"}}, "thinkingLevel': 'ODD' is not one of"),
    ],
)
def test_contradictions_and_unknown_values_are_refused(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"speechConfig": {"voice": "x"}}, "generationConfig.speechConfig"),
        ({"imageConfig": {"imageSize": "4K"}}, r"imageSize '4K' \(pictures have the model's size"),
        ({"imageConfig": {"outputMimeType": "image/jpeg"}}, r"outputMimeType 'image/jpeg'"),
        ({"imageConfig": {"aspectRatio": "16:9"}}, "aspectRatio '16:9'"),
    ],
)
def test_what_the_server_does_not_do_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=f"{message}.* is not supported by this server"):
        read({"responseModalities": ["IMAGE"], **config})


@pytest.mark.parametrize(
    ("modalities", "pictures"),
    [([], "never"), (["TEXT"], "never"), (["TEXT", "IMAGE"], "allowed"), (["image"], "only")],
)
def test_modalities_say_whether_pictures_are_drawn(modalities: list[str], pictures: str) -> None:
    assert read({"responseModalities": modalities}).sampling.pictures == pictures


def test_a_model_that_cannot_draw_is_not_asked_to() -> None:
    with pytest.raises(ValueError, match="replies with TEXT, not with IMAGE"):
        read({"responseModalities": ["IMAGE"]}, desk=FakeDesk(draws=False))


@pytest.mark.parametrize(("ratio", "grid"), [("1:1", None), ("16:9", (6, 11)), ("1:8", (23, 3))])
def test_a_ratio_is_a_grid_of_about_the_usual_area(ratio: str, grid: Any) -> None:
    config = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": ratio}}
    assert read(config, grid=(8, 8)).sampling.grid == grid


def test_a_ratio_that_the_api_does_not_have_is_refused() -> None:
    config = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "7:1"}}
    with pytest.raises(ValueError, match="aspectRatio: '7:1' is not one of 1:1, "):
        read(config)


@pytest.mark.parametrize("thinking", [{"thinkingBudget": 0}, {"thinkingLevel": "high"}, {}])
def test_thinking_is_accepted_and_changes_nothing(thinking: dict[str, Any]) -> None:
    config = {"thinkingConfig": {"includeThoughts": True, **thinking}, "seed": 1}
    assert read(config) == read({"seed": 1})


@pytest.mark.parametrize(
    "setting",
    [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"},
        {"category": 7, "threshold": 4},
        {"category": "HARM_CATEGORY_CIVIC_INTEGRITY", "threshold": "BLOCK_LOW_AND_ABOVE"},
    ],
)
def test_safety_settings_of_the_api_are_accepted(setting: dict[str, Any]) -> None:
    assert read({"seed": 1}, safetySettings=[setting]) == read({"seed": 1})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"category": "HARM_CATEGORY_RUDE"},
            r"safetySettings\[0\].category': 'HARM_CATEGORY_RUDE'",
        ),
        ({"category": 7, "threshold": "SOME"}, r"safetySettings\[0\].threshold': 'SOME'"),
    ],
)
def test_unknown_safety_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(safetySettings=[setting])
