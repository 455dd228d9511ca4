"""Pages of a file that are mapped into memory, given back when they were read."""

import ctypes
from pathlib import Path

MAPS = Path("/proc/self/maps")
DONT_NEED = 4  # madvise: pages of a mapping that nobody wrote to come back from the file if read


class Pages:
    """Where a file is mapped now. Where there is no Linux, nowhere.

    onnxruntime maps weights, packs most of them anew and reads those mappings no more, but keeps
    them; of the table it reads single rows, and 64 kB around each become resident. Together that is
    a fifth of a 4-bit model.
    """

    def __init__(self, file: Path) -> None:
        name = str(file.resolve())
        lines = MAPS.read_text().splitlines() if MAPS.exists() else []
        fields = [line.split(maxsplit=5) for line in lines]
        mine = [one[0].split("-") for one in fields if len(one) == 6 and one[5] == name]
        self._ranges = [(int(start, 16), int(stop, 16)) for start, stop in mine]

    @property
    def bytes(self) -> int:
        """How much of the file is mapped, resident or not."""
        return sum(stop - start for start, stop in self._ranges)

    def let_go(self) -> None:
        """Take the pages out of this process's resident memory."""
        if not self._ranges:
            return
        advise = ctypes.CDLL(None).madvise
        for start, stop in self._ranges:
            advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), DONT_NEED)
