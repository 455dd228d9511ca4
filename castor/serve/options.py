"""`generationConfig` and what stands beside it, as the engine's numbers.

Accepted and without effect, because nothing here depends on them: `safetySettings` (checked; there
is no classifier), `labels`, `serviceTier`, `store`, `continuationToken`,
`enableEnhancedCivicAnswers`, `mediaResolution`, and `thinkingConfig`: these models do not think,
and no thoughts are within every budget.
"""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from castor.sample.ask import MOST_ALTERNATIVES, MOST_CANDIDATES
from castor.sample.choose import Sampling
from castor.sample.grammar import Pictures
from castor.serve import refusal
from castor.serve.fields import (
    as_mapping,
    choice,
    flag,
    listed,
    mapping,
    number,
    text,
    texts,
    whole,
)
from castor.serve.service import Desk, Settings

AT = "generationConfig"
MOST_STOPS = 5
SEEDS = 2**31 - MOST_CANDIDATES  # candidate n draws with seed + n
CATEGORIES = (
    *("UNSPECIFIED", "DEROGATORY", "TOXICITY", "VIOLENCE", "SEXUAL", "MEDICAL", "DANGEROUS"),
    *("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY"),
    *("JAILBREAK", "IMAGE_HATE", "IMAGE_DANGEROUS_CONTENT", "IMAGE_HARASSMENT"),
    "IMAGE_SEXUALLY_EXPLICIT",
)
THRESHOLDS = (
    *("HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE"),
    *("BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"),
)
LEVELS = ("THINKING_LEVEL_UNSPECIFIED", "LOW", "HIGH", "MEDIUM", "MINIMAL", "XHIGH")
MODALITIES = ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO")
RATIOS = (
    *("1:1", "1:4", "4:1", "1:8", "8:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4"),
    *("9:16", "16:9", "21:9"),
)
UNMET = ("speechConfig", "audioTranscriptionConfig", "translationConfig", "responseFormat")
MIMES = ("text/plain", "application/json", "text/x.enum")
NUMBERS = {  # lowest and highest
    "temperature": (0, 2),
    "topP": (0, 1),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
}
WHOLES = {  # the same of whole numbers
    "candidateCount": (1, MOST_CANDIDATES),
    "maxOutputTokens": (1, 2**31 - 1),
    "topK": (0, 1_000_000),
    "seed": (-(2**63), 2**63 - 1),
    "logprobs": (0, MOST_ALTERNATIVES),
}
MOST_BUDGET = 1_000_000

Language = tuple[str, Any]  # kind and spec, as Desk.constraint takes them


class Options(NamedTuple):
    """What a request wants of its reply."""

    sampling: Sampling
    candidates: int
    logprobs: bool  # whether they are told
    alternatives: int
    language: Language | None  # what the reply must be written in


def options_of(fields: Mapping[str, Any], *, desk: Desk, settings: Settings) -> Options:
    """What a request's settings say.

    Raises:
        ValueError: a value is none of the API's, or outside its range.
        Refusal: it asks for what this server does not do.
    """
    config = mapping(fields, "generationConfig", at="")
    check_safety(fields)
    check_thinking(mapping(config, "thinkingConfig", at=AT))
    for name in UNMET:
        if config.get(name):
            raise refusal.unsupported(f"{AT}.{name}")
    logprobs = flag(config, "responseLogprobs", at=AT)
    alternatives = _whole(config, "logprobs")
    if alternatives is not None and not logprobs:
        raise ValueError(f"{AT}.logprobs: set only where responseLogprobs is true")
    language = language_of(config)
    pictures = pictures_of(config, desk)
    if language is not None and pictures != "never":
        raise ValueError(f"{AT}: JSON mode is not supported with pictures in the reply")
    return Options(
        sampling=_sampling(config, pictures, desk, settings),
        candidates=_or(_whole(config, "candidateCount"), 1),
        logprobs=logprobs,
        alternatives=alternatives or 0,
        language=language,
    )


def language_of(config: Mapping[str, Any]) -> Language | None:
    """What responseMimeType and the schemas ask the reply to be written in.

    Raises:
        ValueError: they contradict each other.
    """
    mime = text(config, "responseMimeType", at=AT).lower() or "text/plain"
    openapi, schema = config.get("responseSchema"), config.get("responseJsonSchema")
    if openapi is not None and schema is not None:
        raise ValueError(f"{AT}: give responseSchema or responseJsonSchema, not both")
    if mime == "text/x.enum":
        values = as_mapping(openapi if schema is None else schema, at=f"{AT}.responseSchema")
        return ("enum", list(_enum(values)))
    if mime == "application/json":
        if openapi is not None:
            return ("openapi", openapi)
        return ("json", None) if schema is None else ("schema", schema)
    if mime != "text/plain":
        raise ValueError(
            f"{AT}.responseMimeType: allowed are `text/plain`, `application/json` and "
            f"`text/x.enum`; got {mime!r}"
        )
    if openapi is not None or schema is not None:
        raise ValueError(f"{AT}: a response schema needs responseMimeType `application/json`")
    return None


def pictures_of(config: Mapping[str, Any], desk: Desk) -> Pictures:
    """Whether responseModalities ask for pictures.

    Raises:
        ValueError: they are none of the API's, or the model cannot make them.
    """
    place = f"{AT}.responseModalities"
    wanted = {
        choice(each, MODALITIES, at=place) for each in listed(config, "responseModalities")
    } - {"MODALITY_UNSPECIFIED"}
    able = {"TEXT", "IMAGE"} if desk.draws else {"TEXT"}
    if wanted - able:
        raise ValueError(
            f"{place}: {desk.name} replies with {' and '.join(sorted(able))}, not with "
            f"{' and '.join(sorted(wanted - able))}"
        )
    if "IMAGE" not in wanted:
        return "never"
    return "allowed" if "TEXT" in wanted else "only"


def grid_of(config: Mapping[str, Any], settings: Settings) -> tuple[int, int] | None:
    """Rows and columns of codes for imageConfig's aspectRatio, of about the usual area.

    Raises:
        ValueError: it is no ratio of the API, or the server does not know its grid.
        Refusal: the picture should be of another size or format than the model's own.
    """
    image, place = mapping(config, "imageConfig", at=AT), f"{AT}.imageConfig"
    size = text(image, "imageSize", at=place).upper()
    if size not in ("", "1K"):
        raise refusal.unsupported(
            f"{place}.imageSize {size!r} (pictures have the model's size, 1K)"
        )
    mime = text(image, "outputMimeType", at=place)
    if mime not in ("", "image/png"):
        raise refusal.unsupported(f"{place}.outputMimeType {mime!r} (pictures are image/png)")
    ratio = text(image, "aspectRatio", at=place)
    if ratio and ratio not in RATIOS:
        raise ValueError(f"{place}.aspectRatio: {ratio!r} is not one of {', '.join(RATIOS)}")
    if not ratio or ratio == "1:1":
        return None
    if settings.grid is None:
        raise refusal.unsupported(f"{place}.aspectRatio {ratio!r}")
    width, height = (int(side) for side in ratio.split(":"))
    area = settings.grid[0] * settings.grid[1]
    rows = max(1, min(32, round((area * height / width) ** 0.5)))
    return rows, max(1, min(32, round((area * width / height) ** 0.5)))


def check_safety(fields: Mapping[str, Any]) -> None:
    """Refuse safetySettings with categories or thresholds that the API does not have.

    Raises:
        ValueError: there are some.
    """
    for i, each in enumerate(listed(fields, "safetySettings")):
        place = f"safetySettings[{i}]"
        setting = as_mapping(each, at=place)
        category = setting.get("category")
        choice(category, CATEGORIES, at=f"{place}.category", prefix="HARM_CATEGORY_")
        absent = THRESHOLDS[0]
        choice(setting.get("threshold"), THRESHOLDS, at=f"{place}.threshold", absent=absent)


def check_thinking(config: Mapping[str, Any]) -> None:
    """Refuse a thinkingConfig that contradicts itself.

    Raises:
        ValueError: it does, or a value is none of the API's.
    """
    place = f"{AT}.thinkingConfig"
    flag(config, "includeThoughts", at=place)
    budget = whole(config, "thinkingBudget", at=place, low=-1, high=MOST_BUDGET)
    level = config.get("thinkingLevel")
    choice(level, LEVELS, at=f"{place}.thinkingLevel", absent=LEVELS[0])
    if budget is not None and level is not None:
        raise ValueError(f"{place}: give thinkingBudget or thinkingLevel, not both")


def stops_of(strings: tuple[str, ...], *, at: str, most: int = MOST_STOPS) -> tuple[str, ...]:
    """Strings that end a reply.

    Raises:
        ValueError: there are too many, or an empty one.
    """
    if len(strings) > most:
        raise ValueError(f"{at}: {len(strings)} strings are more than {most}")
    if "" in strings:
        raise ValueError(f"{at}: a stop string may not be empty")
    return strings


def seed_of(seed: int | None) -> int:
    """The seed that is drawn with: the same for the same wish, by chance where there is none."""
    return secrets.randbelow(SEEDS) if seed is None else seed % SEEDS


def _sampling(
    config: Mapping[str, Any], pictures: Pictures, desk: Desk, settings: Settings
) -> Sampling:
    most = _whole(config, "maxOutputTokens")
    stops = stops_of(texts(config, "stopSequences", at=AT), at=f"{AT}.stopSequences")
    return Sampling(
        temperature=_or(_number(config, "temperature"), settings.temperature),
        top_k=_or(_whole(config, "topK"), settings.top_k),
        top_p=_or(_number(config, "topP"), settings.top_p),
        presence_penalty=_number(config, "presencePenalty") or 0.0,
        frequency_penalty=_number(config, "frequencyPenalty") or 0.0,
        stop=stops,
        max_tokens=min(most or desk.context, desk.context),
        seed=seed_of(_whole(config, "seed")),
        pictures=pictures,
        grid=None if pictures == "never" else grid_of(config, settings),
    )


def _number(config: Mapping[str, Any], name: str) -> float | None:
    low, high = NUMBERS[name]
    return number(config, name, at=AT, low=low, high=high)


def _whole(config: Mapping[str, Any], name: str) -> int | None:
    low, high = WHOLES[name]
    return whole(config, name, at=AT, low=low, high=high)


def _enum(schema: Mapping[str, Any]) -> tuple[str, ...]:
    values = texts(schema, "enum", at=f"{AT}.responseSchema")
    if not values:
        raise ValueError(f"{AT}: `text/x.enum` needs a responseSchema with an enum of strings")
    return values


def _or[T](value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
