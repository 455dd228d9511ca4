"""From drawn ids to what may be shown: whole characters, whole pictures, nothing of a stop string.

Invariant: however the ids are cut into chunks, the pieces say the same; so a stream is its reply.
"""

from collections.abc import Sequence

from castor.core.content import Text
from castor.tokens.render import Piece, Reader
from castor.tokens.vocab import Vocab


class Transcript:
    """One reply as it grows. Text that may turn out to begin a stop string is held back.

    A stop string is looked for in each stretch of text; it never spans a picture.
    """

    def __init__(self, vocab: Vocab, *, stop: Sequence[str]) -> None:
        self._reader, self._stop, self._ends = Reader(vocab), stop, vocab.dialogue.ends
        self._held = ""
        self.ids: list[int] = []  # those that count: none after a stop string or the end
        self.ended = False  # by the model, or by a stop string

    def feed(self, i: int) -> list[Piece]:
        """What may be shown now that this id has come; nothing once the reply has ended."""
        if self.ended:
            return []
        self.ids.append(i)
        if i in self._ends:
            self.ended = True
            return self._close()
        return self._show(self._reader.feed(i))

    def close(self) -> list[Piece]:
        """What was held back, where no more ids will come."""
        return [] if self.ended else self._close()

    def _close(self) -> list[Piece]:
        pieces = self._show(self._reader.close())
        return pieces + self._release()

    def _show(self, pieces: Sequence[Piece]) -> list[Piece]:
        shown: list[Piece] = []
        for piece in pieces:
            if not isinstance(piece, Text):
                shown += [*self._release(), piece]
                continue
            self._held += piece.text
            found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
            if found:
                self._held, self.ended = self._held[: min(found)], True
                return shown + self._release()
            safe = len(self._held) - self._suspect()
            shown += [Text(self._held[:safe])] if safe else []
            self._held = self._held[safe:]
        return shown

    def _release(self) -> list[Piece]:
        held, self._held = self._held, ""
        return [Text(held)] if held else []

    def _suspect(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        tails = range(min(longest, len(self._held)), 0, -1)
        return next((n for n in tails if self._begins(self._held[-n:])), 0)

    def _begins(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stop)
