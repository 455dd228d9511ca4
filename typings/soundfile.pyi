"""What Castor calls of soundfile, which ships no types."""

from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

class LibsndfileError(RuntimeError):
    error_string: str

class SoundFile:
    samplerate: int
    frames: int
    channels: int
    def __init__(self, file: str | BinaryIO) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def read(
        self, frames: int = -1, dtype: str = "float64", always_2d: bool = False
    ) -> np.ndarray[Any, np.dtype[np.float32]]: ...
