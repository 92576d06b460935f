"""A policy's weights as one block of bytes: how they travel from the learner to every engine.

They go through Ray's object store, which copies a block at the speed of memory; a table of tensors takes it ten times
as long (`tests/bench/sampling.py`).
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
"""Bytes: each tensor of a block begins at a multiple of it, as the kernels that read it like best."""


class TensorPlace(NamedTuple):
    """Where a tensor lies in a block of weights."""

    name: str
    """Its Hugging Face name."""
    dtype: str
    """torch's name of its type: "float32"."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte."""


@dataclass(frozen=True)
class PublishedWeights:
    """A policy's weights on their way to the engines."""

    block: NDArray[np.uint8]
    """[bytes] all tensors, one after the other."""
    places: tuple[TensorPlace, ...]

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, without a copy: views of `block`, which must not be written to."""
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
    """The learner's side: memory that every publication is written into.

    It is kept from one sync to the next: the first write to fresh memory costs several times as much as the copy.
    """

    def __init__(self) -> None:
        self._block: NDArray[np.uint8] = np.empty(0, np.uint8)

    def fill(self, weights: Mapping[str, Tensor]) -> PublishedWeights:
        """Copies the weights into the block. The result is good until the next call."""
        places, size = [], ALIGNMENT  # not empty: an empty array has no strides to view it by
        for name, tensor in weights.items():
            places.append(TensorPlace(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), size))
            size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        if len(self._block) != size:
            self._block = np.empty(size, np.uint8)
        published = PublishedWeights(self._block, tuple(places))
        for name, room in published.tensors().items():
            room.copy_(weights[name])
        return published
