"""What Castor calls of soxr, which ships no types."""

from typing import Any

import numpy as np

def resample(
    x: np.ndarray[Any, np.dtype[np.float32]], in_rate: float, out_rate: float, quality: str = "HQ"
) -> np.ndarray[Any, np.dtype[np.float32]]: ...
