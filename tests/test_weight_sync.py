"""The block of bytes in which weights travel: every tensor comes out as it went in."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.models.weight_block import ALIGNMENT, WeightBlock

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.bool)


@st.composite
def tables(draw):
    """Weights of any types and shapes, scalars and empty ones among them."""
    shapes = draw(st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return {
        f"layer.{i}": (torch.randn(shape, generator=generator) * 100).to(draw(st.sampled_from(DTYPES)))
        for i, shape in enumerate(shapes)
    }


def through_the_object_store(published):
    """As Ray moves it: the block beside the pickle, read back as memory that cannot be written to."""
    buffers = []
    head = pickle.dumps(published, protocol=5, buffer_callback=buffers.append)
    assert len(head) < 1000 + 200 * len(published.places)
    return pickle.loads(head, buffers=[bytes(buffer.raw()) for buffer in buffers])


@given(tables())
def test_weights_come_out_of_the_block_as_they_went_in(weights):
    found = through_the_object_store(WeightBlock().fill(weights)).tensors()
    assert list(found) == list(weights)
    for name, weight in weights.items():
        assert (found[name].dtype, found[name].shape) == (weight.dtype, weight.shape)
        assert torch.equal(found[name], weight)


def test_the_block_keeps_its_memory_while_the_model_keeps_its_size():
    block = WeightBlock()
    first = block.fill({"a": torch.zeros(3), "b": torch.zeros(2, 2)}).block
    second = block.fill({"a": torch.ones(3), "b": torch.ones(2, 2)})
    assert second.block is first
    assert second.tensors()["b"].tolist() == [[1, 1], [1, 1]]
    assert all(place.offset % ALIGNMENT == 0 for place in second.places)
    assert len(block.fill({"a": torch.zeros(300)}).block) == 64 + 1216  # 1,200 bytes in whole units of 64


@pytest.mark.parametrize("weight", [torch.arange(12.0).view(3, 4).t(), torch.zeros(4, 4)[:, 1]])
def test_weights_that_lie_scattered_in_memory_are_packed(weight):
    assert torch.equal(WeightBlock().fill({"w": weight}).tensors()["w"], weight)
