"""PyTorch, imported so that its threads soon sleep while they wait for each other: see `_openmp`.

It takes a second to import, so that only what computes with it imports this.
"""

from __future__ import annotations

from vision_recs._openmp import SLEEP_SOON, openmp

with openmp(SLEEP_SOON):
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

__all__ = ["Tensor", "functional", "nn", "torch"]
