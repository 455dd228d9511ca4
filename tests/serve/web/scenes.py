"""What the scripted model says: scenes of chunks, chosen by the first word of the last message."""

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

TALK = r"""## Least squares in one line

The closed form minimises $\lVert Xw - y \rVert^2$. Set the gradient to zero and solve:

$$
w = (X^\top X)^{-1} X^\top y
$$

In **NumPy** that is one call, and it is *better conditioned* than the formula:

```python
import numpy as np

def fit(X, y):
    # lstsq uses an SVD: no matrix is inverted
    w, residuals, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    return w
```

| method | cost | when |
|---|---:|---|
| normal equations | $O(nd^2)$ | few columns |
| QR | $2nd^2$ | the usual case |
| SVD | $O(nd^2)$ | columns nearly dependent |

1. Centre the columns first.
2. Look at the residuals:
   - a **funnel** means the noise grows,
   - a *curve* means a term is missing.

> All models are wrong, but some are useful.

More in [the notes](https://example.org/least-squares)."""
NASTY = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1">

[run](javascript:window.hacked=1) [data](data:text/html,<script>window.hacked=1</script>)
![spy](https://spy.example/pixel.png) ![x](javascript:window.hacked=1)

[fine](https://example.org/a?b=1&c=2)"""


def png(side: int = 64, *, red: int = 214, blue: int = 60) -> str:
    """A disc on white, as base64 of a PNG."""
    rows = bytearray()
    for y in range(side):
        rows.append(0)
        for x in range(side):
            inside = (x - side * 0.4) ** 2 + (y - side * 0.5) ** 2 < (side * 0.28) ** 2
            rows += bytes((red, 60, blue)) if inside else b"\xff\xff\xff"

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def picture(**more: int) -> Json:
    return {"inlineData": {"mimeType": "image/png", "data": png(**more)}}


def said(*parts: Json, index: int = 0, finish: str | None = None, **more: Any) -> Json:
    """A chunk of one candidate."""
    candidate: Json = {"index": index, "content": {"role": "model", "parts": list(parts)}, **more}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})]}


def words(text: str) -> Iterator[str]:
    """The text in the pieces that it is streamed in."""
    start = 0
    for at, letter in enumerate(text):
        if letter in " \n" and at + 1 - start > 6:
            yield text[start : at + 1]
            start = at + 1
    yield text[start:]


def stream(text: str, *, finish: str = "STOP") -> Iterator[Json]:
    for piece in words(text):
        yield said({"text": piece})
    yield said(finish=finish)


def drafts(count: int, body: Json) -> Iterator[Json]:
    """All candidates at once, as one batch decodes them."""
    if body.get("generationConfig", {}).get("responseModalities") == ["IMAGE"]:
        for i in range(count):
            yield said(picture(blue=90 * i), index=i, finish="STOP")
        return
    texts = [
        "The lighthouse keeper counts ships the way others count sheep. Tonight there are seven.",
        "Fog came in at nine. By ten the keeper had named every wave, and run out of names.",
        "She wrote one line in the log: *Nothing to report*, then crossed out the word nothing.",
        *(f"Draft {i + 1} of many." for i in range(3, count)),
    ]
    pieces = [list(words(text)) for text in texts[:count]]
    for step in range(max(map(len, pieces))):
        for i, mine in enumerate(pieces):
            if step < len(mine):
                yield said({"text": mine[step]}, index=i)
    for i in range(count):
        yield said(index=i, finish="STOP")


def think() -> Iterator[Json]:
    yield said({"text": "First the tens, ", "thought": True})
    yield said({"text": "then the **ones**.", "thought": True})
    yield from stream("The sum is 19.")


def tool() -> Iterator[Json]:
    yield said({"text": "Let me look. "})
    call = {"id": "call-1", "name": "get_weather", "args": {"city": "Brno", "days": 2}}
    yield said({"functionCall": call}, finish="STOP")


def execute() -> Iterator[Json]:
    yield said({"executableCode": {"language": "PYTHON", "code": "print(sum(range(10)))"}})
    yield said({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "45\n"}})
    yield from stream("It is 45.")


def unsafe() -> Iterator[Json]:
    rating = {"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}
    yield {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": [rating]}}


def halt() -> Iterator[Json]:
    yield said({"text": "Well, "})
    rating = {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH"}
    yield said(finish="SAFETY", safetyRatings=[rating])


def error(code: int, status: str, message: str, **more: Any) -> Json:
    return {"error": {"code": code, "message": message, "status": status, **more}}


def broken() -> Iterator[Json]:
    yield said({"text": "It began well and "})
    yield error(503, "UNAVAILABLE", "The model was unloaded.")


SCENES = {
    "slow": lambda: stream(" ".join(f"word{i}" for i in range(400))),
    "picture": lambda: iter([said({"text": "Here: "}), said(picture(), finish="STOP")]),
    "think": think,
    "tool": tool,
    "execute": execute,
    "length": lambda: stream("This is the first half", finish="MAX_TOKENS"),
    "unsafe": unsafe,
    "halt": halt,
    "break": broken,
    "cut": lambda: iter([said({"text": "It ends here"})]),
    "markdown": lambda: stream(TALK),
    "nasty": lambda: stream(NASTY),
    "queue": lambda: iter([{"queue": {"position": 2}}, *stream("Your turn.")]),
}


def text_of(content: Json) -> str:
    return " ".join(part.get("text", "") for part in content.get("parts", ()))


def scene(body: Json) -> Iterator[Json]:
    config = body.get("generationConfig", {})
    last = body["contents"][-1]
    if config.get("candidateCount", 1) > 1:
        return drafts(config["candidateCount"], body)
    if last["role"] == "model":
        return stream(" and this is the second half.")
    if any("functionResponse" in part for part in last["parts"]):
        return stream("It will be **sunny** in Brno.")
    if config.get("responseModalities") == ["IMAGE"]:
        return iter([said(picture(), finish="STOP")])
    text = text_of(last).strip()
    first = text.split()[0].lower() if text else ""
    if first in SCENES:
        return SCENES[first]()
    media = [p for p in last["parts"] if "inlineData" in p or "fileData" in p]
    seen = f" and sent {len(media)} file{'s' * (len(media) > 1)}" if media else ""
    return stream(f"You said “{text}”{seen}.")
