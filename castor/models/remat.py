"""What a layer keeps of its forward pass for the backward one, and what it computes again.

The loss does not depend on it, nor the gradient but for rounding; memory and time do.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax

from castor.models.attention import ATTENTION
from castor.models.layers import PRODUCT
from castor.models.layout import mesh_in_use

# "none": all is kept but what is cheap (norms, turns) or large (scores); "dots": only the products
# with matrices, and what attention gives; "full": nothing but what the layer is given.
Remat = Literal["none", "dots", "full"]

_DOTS = jax.checkpoint_policies.save_only_these_names(PRODUCT, ATTENTION)


def rematerialised(layer: Callable[..., Any], remat: Remat, *, looped: bool) -> Callable[..., Any]:
    """The layer as the backward pass is to meet it.

    On a mesh "none" is "dots": else every layer would keep the weights that it gathered. `looped`:
    it is the body of a loop, so that no compiler merges what is computed twice.

    Paper: Chen et al. 2016, arXiv:1604.06174.
    """
    if remat == "none" and mesh_in_use() is None:
        return layer
    policy = None if remat == "full" else _DOTS
    return jax.checkpoint(layer, policy=policy, prevent_cse=not looped)
