"""The one legend of dimension letters for the whole package; a letter never means two things.

B rows of a batch · T query positions in a row · S cached positions · D model width · N query
heads · K key/value heads · G = N/K · H head width · F hidden width · V vocabulary · L layers ·
M media slots of a row · P values of one media window · C codes of a picture.
"""

import numpy as np
from jaxtyping import Float32, Int32

Ids = Int32[np.ndarray, " T"]  # token ids of one document
Weights = Float32[np.ndarray, " T"]  # how much predicting each id counts; 0 = not at all
Rows = Int32[np.ndarray, "B T"]  # one integer per position of a batch
