"""Packs a policy's weights into one block of bytes, which is sent from the learner to every engine.

Ray's object store copies one block at memory speed, but takes ten times as long for a dict of tensors
(`tests/bench/sampling.py`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


ALIGNMENT = 64
"""In bytes. Each tensor in a block begins at a multiple of it, so that kernels can read it fast."""


class TensorPlace(NamedTuple):
    """The place of a tensor in a block of weights."""

    name: str
    """Its Hugging Face name."""
    dtype: str
    """torch's name of its dtype, such as "float32"."""
    shape: tuple[int, ...]
    offset: int
    """Offset of its first byte."""


@dataclass(frozen=True)
class PublishedWeights:
    """A policy's weights, packed for sending to the engines."""

    block: NDArray[np.uint8]
    """[bytes] all tensors, one after the other."""
    places: tuple[TensorPlace, ...]

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, as views of `block` without a copy. Do not write to them."""
        import torch

        found = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given (NumPy array|buffer) is not writable")
            block = torch.from_numpy(self.block)
        for place in self.places:
            dtype = getattr(torch, place.dtype)
            num_bytes = math.prod(place.shape) * dtype.itemsize
            found[place.name] = block[place.offset : place.offset + num_bytes].view(dtype).view(place.shape)
        return found


class WeightBlock:
    """The memory on the learner's side that every weight sync packs the weights into.

    It is reused by all syncs, because the first write to new memory takes several times as long as the copy.
    """

    def __init__(self) -> None:
        self._block: NDArray[np.uint8] = np.empty(0, np.uint8)

    def fill(self, weights: Mapping[str, Tensor]) -> PublishedWeights:
        """Copies the weights into the block. The result is valid until the next call."""
        places, size = [], ALIGNMENT  # not empty: an empty array has no strides to view it by
        for name, tensor in weights.items():
            places.append(TensorPlace(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), size))
            size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        if len(self._block) != size:
            self._block = np.empty(size, np.uint8)
        published = PublishedWeights(self._block, tuple(places))
        for name, view in published.tensors().items():
            view.copy_(weights[name])
        return published
