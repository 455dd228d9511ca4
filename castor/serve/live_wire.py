"""Messages of the Live API: what a client sets up, what it is told, and how a session is closed.

What this server does not do is refused with its name, not ignored: speech in the reply (an AUDIO
modality), avatars, proactive audio, calls that do not block, resuming a session. `transparent`,
`labels` and the fields of the two transcriptions have no effect.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from castor.core.content import Call, Part
from castor.core.wire import part_to_wire
from castor.sample.ask import Busy, Failed, Late
from castor.serve import refusal
from castor.serve.fields import as_mapping, choice, flag, listed, mapping, text, whole
from castor.serve.generate import known
from castor.serve.live_audio import PREFIX_MS, SILENCES_MS, Detection
from castor.serve.options import AT, MODALITIES, options_of
from castor.serve.refusal import Refusal, refusals
from castor.serve.reply import Reply
from castor.serve.service import Desk, Settings
from castor.serve.tools import tools_of

REASON_BYTES = 123  # of a websocket's close frame
BAD, POLICY, TOO_BIG, INTERNAL = 1007, 1008, 1009, 1011
HANDLINGS = (
    "ACTIVITY_HANDLING_UNSPECIFIED",
    "START_OF_ACTIVITY_INTERRUPTS",
    "NO_INTERRUPTION",
)
COVERAGES = (
    "TURN_COVERAGE_UNSPECIFIED",
    "TURN_INCLUDES_ONLY_ACTIVITY",
    "TURN_INCLUDES_ALL_INPUT",
    "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
)
SENSITIVITIES = ("UNSPECIFIED", "HIGH", "LOW")
CONFIG = "setup.realtimeInputConfig"
DETECTION = f"{CONFIG}.automaticActivityDetection"
SPEECHLESS = 'This server replies in text, without speech: set responseModalities to ["TEXT"]'

Wire = dict[str, Any]


class Closed(Exception):
    """A session that the server ends; `reason` fits into the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, shortened(reason)


class Window(NamedTuple):
    """How a long talk is shortened: above `trigger` tokens, to `target` at most."""

    trigger: int
    target: int


@dataclass(frozen=True)
class Setup:
    """What a client wants of a session."""

    model: str
    fields: Mapping[str, Any]  # of the request that each turn makes, without its contents
    detection: Detection | None  # None: the client says when the user is active
    interrupts: bool  # whether activity cuts a reply short
    window: Window | None
    writes_input: bool  # what the user said is told as text
    writes_output: bool
    signals: bool  # the begin and end of speech are told
    history_first: bool  # the first complete turn is history, and is not answered
    resumption: bool  # whether the client asked to be told about it


def setup_of(fields: Mapping[str, Any], *, desk: Desk, settings: Settings) -> Setup:
    """What the first message says.

    Raises:
        ValueError: something in it is not in the form of the API.
        Refusal: something in it is not for this server.
    """
    at = "setup"
    for name in ("avatarConfig", "proactivity"):
        if fields.get(name):
            raise refusal.unsupported(f"{at}.{name}")
    resumption = mapping(fields, "sessionResumption", at=at)
    if resumption.get("handle"):
        raise Closed(POLICY, "Sessions are not kept: begin a new one without a handle")
    config = mapping(fields, "realtimeInputConfig", at=at)
    coverage = choice(config.get("turnCoverage"), COVERAGES, at=f"{CONFIG}.turnCoverage")
    if coverage == "TURN_INCLUDES_ALL_INPUT":
        raise refusal.unsupported(coverage)
    handling = choice(config.get("activityHandling"), HANDLINGS, at=f"{CONFIG}.activityHandling")
    kept = ("generationConfig", "safetySettings", "systemInstruction", "tools", "toolConfig")
    request = {name: fields[name] for name in kept if name in fields}
    check_request(request, desk=desk, settings=settings)
    history = mapping(fields, "historyConfig", at=at)
    return Setup(
        model=text(fields, "model", at=at),
        fields=request,
        detection=_detection(mapping(config, "automaticActivityDetection", at=CONFIG)),
        interrupts=handling != "NO_INTERRUPTION",
        window=_window(fields, desk),
        writes_input="inputAudioTranscription" in fields,
        writes_output="outputAudioTranscription" in fields,
        signals=flag(fields, "explicitVadSignal", at=at),
        history_first=flag(history, "initialHistoryInClientContent", at=f"{at}.historyConfig"),
        resumption="sessionResumption" in fields,
    )


def check_request(fields: Mapping[str, Any], *, desk: Desk, settings: Settings) -> None:
    """Refuse settings that no turn of the session could be answered with.

    Raises:
        ValueError, Refusal: as the requests of single turns do.
    """
    config = mapping(fields, "generationConfig", at="setup")
    place = f"{AT}.responseModalities"
    wanted = [choice(each, MODALITIES, at=place) for each in listed(config, "responseModalities")]
    if "AUDIO" in wanted:
        raise ValueError(SPEECHLESS)
    options = options_of(fields, desk=desk, settings=settings)
    if options.candidates != 1:
        raise ValueError(f"{AT}.candidateCount: a session has one reply at a time")
    if options.logprobs:
        raise refusal.unsupported(f"{AT}.responseLogprobs in a session")
    tools_of(fields)
    for tool in listed(fields, "tools"):
        for declared in listed(as_mapping(tool, at="tools"), "functionDeclarations"):
            behavior = str(as_mapping(declared, at="tools").get("behavior") or "BLOCKING")
            if behavior.upper() == "NON_BLOCKING":
                raise refusal.unsupported("The behavior NON_BLOCKING of functions")


def message_of(wire: Mapping[str, Any], *, settings: Settings) -> tuple[str, Wire]:
    """Which message it is, and its fields. One of which nothing is known is ("", {}).

    Raises:
        Refusal: it is several at once, or the server is strict and does not know a field.
    """
    fields = known(wire, "LiveMessage", settings)
    if len(fields) > 1:
        raise refusal.bad(f"A message is one of {', '.join(fields)}, not several.")
    for name, value in fields.items():
        with refusals():
            return name, dict(as_mapping(value, at=name))
    return "", {}


def usage(reply: Reply | None) -> Wire:
    """Tokens of a reply so far, under the names that they have here."""
    if reply is None:
        return {}
    told = reply.usage()
    told["responseTokenCount"] = told.pop("candidatesTokenCount")
    return {"usageMetadata": told}


def said(parts: Iterable[Part], *, transcribed: bool) -> Wire:
    """Some of the model's turn."""
    wire = [part_to_wire(part) for part in parts]
    content: Wire = {"modelTurn": {"role": "model", "parts": wire}}
    spoken = "".join(part.get("text", "") for part in wire)
    if transcribed and spoken:
        content["outputTranscription"] = {"text": spoken}
    return {"serverContent": content}


def called(calls: Iterable[Call]) -> Wire:
    """Functions that the client is to run."""
    return {"toolCall": {"functionCalls": [part_to_wire(call)["functionCall"] for call in calls]}}


def close_of(error: Exception) -> Closed:
    """How a session ends that met an error."""
    if isinstance(error, Closed):
        return error
    if isinstance(error, Refusal | Busy | Late | Failed):
        told = refusal.of(error)
        internal = told.code >= 500 and told.code != 501
        code = INTERNAL if internal else POLICY if told.code in (403, 404) else BAD
        return Closed(code, told.message)
    if isinstance(error, ValueError):
        return Closed(BAD, str(error))
    return Closed(INTERNAL, refusal.of(error).message)


def shortened(reason: str) -> str:
    """As much of a reason as a close frame holds."""
    data = reason.encode("utf-8", errors="replace")
    if len(data) <= REASON_BYTES:
        return data.decode("utf-8")
    return data[: REASON_BYTES - 3].decode("utf-8", errors="ignore") + "…"


def _detection(fields: Mapping[str, Any]) -> Detection | None:
    if flag(fields, "disabled", at=DETECTION):
        return None
    start = _sensitivity(fields, "startOfSpeechSensitivity", "START_SENSITIVITY_")
    end = _sensitivity(fields, "endOfSpeechSensitivity", "END_SENSITIVITY_")
    prefix = whole(fields, "prefixPaddingMs", at=DETECTION, low=0, high=10_000)
    silence = whole(fields, "silenceDurationMs", at=DETECTION, low=0, high=10_000)
    return Detection(
        start=start,
        end=end,
        prefix_ms=PREFIX_MS if prefix is None else prefix,
        silence_ms=SILENCES_MS[end] if silence is None else silence,
    )


def _sensitivity(fields: Mapping[str, Any], name: str, prefix: str) -> str:
    place = f"{DETECTION}.{name}"
    told = choice(fields.get(name), SENSITIVITIES, at=place, prefix=prefix)
    return "LOW" if told == "LOW" else "HIGH"


def _window(fields: Mapping[str, Any], desk: Desk) -> Window | None:
    """The window that is asked for, in a context that may be smaller than the client thinks."""
    if "contextWindowCompression" not in fields:
        return None
    at = "setup.contextWindowCompression"
    config = mapping(fields, "contextWindowCompression", at="setup")
    sliding = mapping(config, "slidingWindow", at=at)
    most = max(1, desk.context * 4 // 5)
    trigger = whole(config, "triggerTokens", at=at, low=1, high=2**63) or most
    trigger = min(trigger, most)
    place = f"{at}.slidingWindow"
    target = whole(sliding, "targetTokens", at=place, low=0, high=2**63)
    return Window(trigger, min(target or trigger // 2, trigger))
