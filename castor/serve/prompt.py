"""The conversation of a request as the Document that the model reads.

- Turns of the role system, and the systemInstruction before them, become one turn at the front.
  Declarations of functions stand at its end as text, one function a line, compact JSON with its
  name, description and parameters (a JSON Schema).
- Calls and results stay parts where they are. Each result is put in the order of the calls (by id,
  else by name, else as they come), and then all ids are left out: they say nothing more, and a
  prompt without them begins as the last one did, which the engine has worked out already.
- Neighbouring turns of one role are one turn. Thoughts are left out. A text file is text.

Invariant: a system turn only at the front, then user and model in turn, none of them empty.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.wire import ROLE_NAMES, from_wire
from castor.serve import refusal
from castor.serve.fields import as_mapping, listed
from castor.serve.service import Desk, ResolveFile
from castor.serve.shapes import camel

MIME_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/mpga": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "video/mov": "video/quicktime",
    "video/mpg": "video/mpeg",
    "video/avi": "video/x-msvideo",
}
TEXTS = ("application/json", "application/xml", "application/javascript", "application/x-python")
UNREAD = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse", "videoMetadata")
CALL_ORDER = (
    "Please ensure that function call turn comes immediately after a user turn or after a "
    "function response turn."
)
RESULT_ORDER = (
    "Please ensure that function response turn comes immediately after a function call turn."
)
RESULT_COUNT = (
    "Please ensure that the number of function response parts is equal to the number of function "
    "call parts of the function call turn."
)


def conversation(
    fields: Mapping[str, Any], *, desk: Desk, declared: str = "", resolve: ResolveFile | None
) -> Document:
    """What `contents` and `systemInstruction` say; `declared` is the text of the functions.

    Raises:
        ValueError: something is not in the form of the API, or the model does not perceive it.
        Refusal: a file is not there.
    """
    contents = listed(fields, "contents")
    for i, content in enumerate(contents):
        _check_content(content, f"contents[{i}]")
    wire: dict[str, Any] = {"contents": [_lower(content) for content in contents]}
    if fields.get("systemInstruction") is not None:
        wire["systemInstruction"] = {"parts": _instruction(fields["systemInstruction"])}
    document = from_wire(wire, resolve=_resolver(resolve))
    turns = [replace(t, parts=_perceived(t.parts, t.role, desk)) for t in document.turns]
    return arranged(turns, declared=declared)


def check_contents(fields: Mapping[str, Any]) -> None:
    """Refuse a request that says nothing.

    Raises:
        ValueError: it has no contents.
    """
    if not listed(fields, "contents"):
        raise ValueError("* GenerateContentRequest.contents: contents is not specified")


def arranged(turns: Iterable[Turn], *, declared: str = "") -> Document:
    """Turns in any order as a prompt.

    Raises:
        ValueError: calls and results do not follow each other.
    """
    system: list[Part] = []
    talk: list[Turn] = []
    for turn in turns:
        if turn.role == "system":
            system += [*([Text("\n\n")] if system and turn.parts else []), *turn.parts]
        elif talk and talk[-1].role == turn.role:
            talk[-1] = Turn(turn.role, (*talk[-1].parts, *turn.parts))
        elif turn.parts:
            talk.append(turn)
    if declared:
        system += [Text("\n\n" if system else ""), Text(declared)]
    head = [Turn("system", tuple(system))] if system else []
    return Document((*head, *_answered(talk)))


def perceived(medium: Media, *, role: Role, desk: Desk) -> Media | Text:
    """A medium under its usual mime; text files as text.

    Raises:
        ValueError: the model does not perceive it, or a text is not UTF-8.
    """
    mime = medium.mime.partition(";")[0].strip().lower()
    mime = MIME_ALIASES.get(mime, mime)
    kind = mime.split("/")[0]
    if kind == "text" or mime in TEXTS:
        return Text(medium.data.decode("utf-8"))
    draws = role == "model" and kind == "image" and desk.draws
    if kind not in desk.kinds and not draws:
        readable = ", ".join(f"{known}/*" for known in sorted({"text", *desk.kinds}))
        raise ValueError(f"Unsupported MIME type: {mime}. {desk.name} reads {readable}.")
    return Media(mime, medium.data)


def _perceived(parts: Sequence[Part], role: Role, desk: Desk) -> tuple[Part, ...]:
    return tuple(
        perceived(part, role=role, desk=desk) if isinstance(part, Media) else part for part in parts
    )


def _check_content(content: Any, place: str) -> None:
    fields = as_mapping(content, at=place)
    role = str(fields.get("role") or "user").lower()
    if role not in ROLE_NAMES or role == "page":
        raise ValueError("Please use a valid role: user, model.")
    parts = listed(fields, "parts")
    if not parts and role != "model":
        raise ValueError(
            f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty."
        )
    for i, part in enumerate(parts):
        _check_part(as_mapping(part, at=f"{place}.parts[{i}]"), f"{place}.parts[{i}]")


def _check_part(part: Mapping[str, Any], place: str) -> None:
    """Refuse what would change the meaning if it were left out."""
    for name in UNREAD:
        if part.get(name):
            raise refusal.unsupported(f"{place}.{name}")
    response = part.get("functionResponse")
    if isinstance(response, Mapping) and cast("Mapping[str, Any]", response).get("parts"):
        raise refusal.unsupported(f"{place}.functionResponse.parts")


def _lower(content: Mapping[str, Any]) -> dict[str, Any]:
    """A turn that from_wire reads: its role in lower case, without parts that say nothing."""
    parts = [part for part in listed(content, "parts") if _says(part)]
    return {"role": str(content.get("role") or "user").lower(), "parts": parts}


def _says(part: Any) -> bool:
    """Whether a part holds more than what was noted beside its content, or is none at all."""
    beside = ("thoughtSignature", "partMetadata", "mediaResolution", "thought")
    noted = isinstance(part, Mapping) and part
    return not noted or any(camel(str(name)) not in beside for name in part)


def _instruction(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"text": value}]
    if isinstance(value, list):
        return cast("list[Any]", value)
    fields = as_mapping(value, at="systemInstruction")
    return listed(fields, "parts") if "parts" in fields else [fields] if fields else []


def _resolver(resolve: ResolveFile | None) -> Callable[[str], Media] | None:
    if resolve is None:
        return None

    def media(uri: str) -> Media:
        name = uri.rpartition("files/")
        if not name[1]:
            raise ValueError(f"fileData: only uploaded files are read (files/…); got {uri!r}")
        try:
            mime, data = resolve(uri)
        except LookupError:
            raise refusal.no_file(name[2]) from None
        return Media(mime, data)

    return media


def _answered(turns: list[Turn]) -> list[Turn]:
    """The turns with each result in the place of its call, and without ids."""
    calls: list[Call] = []  # of the turn before
    told: list[Turn] = []
    for i, turn in enumerate(turns):
        results = [part for part in turn.parts if isinstance(part, Result)]
        made = [part for part in turn.parts if isinstance(part, Call)]
        if (made and i == 0) or (made and turn.role != "model"):
            raise ValueError(CALL_ORDER)
        if results and not calls:
            raise ValueError(RESULT_ORDER)
        if len(results) != len(calls):
            raise ValueError(RESULT_COUNT)
        ordered = iter(_in_order(results, calls))
        parts = [next(ordered) if isinstance(part, Result) else part for part in turn.parts]
        bare = [replace(p, id="") if isinstance(p, Call | Result) else p for p in parts]
        told.append(replace(turn, parts=tuple(bare)))
        calls = made
    return told


def _in_order(results: list[Result], calls: list[Call]) -> list[Result]:
    left = list(results)
    ordered: list[Result] = []
    for call in calls:
        by_id = [r for r in left if r.id and r.id == call.id]
        by_name = [r for r in left if r.name == call.name]
        found = (by_id or by_name or left)[0]
        left.remove(found)
        ordered.append(found)
    return ordered
