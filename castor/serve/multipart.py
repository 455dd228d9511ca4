"""Two parts in one body: what a file is called, and its bytes. multipart/related or /form-data.

Invariant: the bytes that come out do not depend on how the body was cut into pieces.
"""

import re
from typing import Any

from castor.serve.incoming import json_object
from castor.serve.refusal import bad

MOST_HEAD = 64 << 10  # bytes of the first part, and of either part's headers
BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)


class Multipart:
    """A body that is fed piece by piece."""

    def __init__(self, content_type: str) -> None:
        """Raises Refusal if the header of the request names no boundary."""
        found = BOUNDARY.search(content_type)
        if not content_type.lower().startswith("multipart/") or found is None:
            raise bad(
                "A multipart upload has the Content-Type multipart/related; boundary=…; "
                f"got {content_type!r}"
            )
        self._line = b"\r\n--" + (found[1] or found[2]).encode()
        self._held = b"\r\n"  # the first boundary has no line before it
        self._stage = 0  # metadata's boundary, metadata, the file's headers, the file, the end
        self.metadata: dict[str, Any] = {}
        self.mime = ""

    @property
    def ready(self) -> bool:
        """Whether `metadata` and `mime` are known."""
        return self._stage >= 3

    def feed(self, piece: bytes) -> bytes:
        """The file's bytes that are now certain.

        Raises:
            Refusal: it is no such body.
        """
        self._held += piece
        while not self.ready:
            if not self._step():
                if len(self._held) > MOST_HEAD:
                    raise bad(f"The first part of a multipart upload may have {MOST_HEAD} bytes")
                return b""
        if self._stage == 4:
            return b""
        data, line, _ = self._held.partition(self._line)
        if line:
            self._stage = 4
            return data
        kept = len(self._line) - 1
        data, self._held = self._held[:-kept], self._held[-kept:]
        return data

    def close(self) -> None:
        """Raises Refusal if the body ended before the boundary after the file."""
        if self._stage != 4:
            raise bad("The body ends before its last boundary")

    def _step(self) -> bool:
        """Go on to the next stage, if all of this one is here."""
        mark = (self._line, self._line, b"\r\n\r\n")[self._stage]
        text, found, rest = self._held.partition(mark)
        if not found:
            return False
        if self._stage == 1:
            self.metadata = json_object(text.partition(b"\r\n\r\n")[2])
        elif self._stage == 2:
            kind = re.search(rb"^content-type:\s*([^\r\n]*)", text, re.IGNORECASE | re.MULTILINE)
            self.mime = kind[1].decode("latin-1").strip() if kind else ""
        self._held, self._stage = rest, self._stage + 1
        return True
