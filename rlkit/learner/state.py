"""Saves and loads a learner's state with torch.distributed.checkpoint; every rank writes its own part.

A state is a flat dict of tensors: "policy/model.layers.0...", "policy.optimizer/...". Sharded tensors are saved in
parts and can be loaded into other parts, so the number of ranks can change.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Mapping
from concurrent import futures
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import BlockingAsyncStager

from rlkit.errors import RlkitError
from rlkit.learner.ranks import Ranks

State = dict[str, Tensor]

# torch warns about a single process, which is intended here.
warnings.filterwarnings("ignore", message="torch.distributed is (disabled|unavailable)", category=UserWarning)


def weights_state(part: str, named: Iterable[tuple[str, Tensor]]) -> State:
    """The weights by name: the tensors themselves, not copies, so loading into this dict changes the network."""
    return {f"{part}/{name}": p.detach() for name, p in named}


def trained_state(part: str, module: nn.Module) -> State:
    """The same for the trained weights only; the others are those of the start model."""
    return weights_state(part, ((name, p) for name, p in module.named_parameters() if p.requires_grad))


def optimizer_state(part: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """The optimizer's moments and step counts, under the names of their weights."""
    return {
        f"{part}/{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def allocate_optimizer_state(part: str, module: nn.Module, optimizer: torch.optim.Optimizer, saved: Path) -> State:
    """Allocates the tensors of a new optimizer's state, to load a saved state into; returns them as a `State`."""
    found = _table_of(saved)
    optimizer.state.clear()
    for name, parameter in module.named_parameters():
        prefix = f"{part}/{name}/"
        for key in [key for key in found if key.startswith(prefix)]:
            optimizer.state[parameter][key.removeprefix(prefix)] = _allocate(found[key], parameter, optimizer)
    return optimizer_state(part, module, optimizer)


def _allocate(saved: TensorStorageMetadata, parameter: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    dtype = saved.properties.dtype
    if saved.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=dtype)  # sharded like its weight
    # Step counts are on the weight's device only if the optimizer is fused.
    device = parameter.device if any(group.get("fused") for group in optimizer.param_groups) else "cpu"
    return torch.zeros(saved.size, dtype=dtype, device=device)


def restore_counts(optimizer: torch.optim.Optimizer) -> None:
    """Converts step counts that were loaded as tensors to plain numbers, as bitsandbytes' optimizer expects them."""
    for kept in optimizer.state.values():
        kept |= {key: int(value) for key, value in kept.items() if value.ndim == 0 and value.dtype == torch.int64}


def random_state(ranks: Ranks) -> State:
    """The state of this rank's random generators."""
    state = {f"random/cpu/{ranks.rank}": torch.get_rng_state()}
    if torch.cuda.is_available():
        state[f"random/cuda/{ranks.rank}"] = torch.cuda.get_rng_state()
    return state


def load_random(ranks: Ranks, folder: Path) -> None:
    """Restores this rank's random generators; a rank or device that is not in the checkpoint keeps its own."""
    found = _table_of(folder)
    state = {key: value for key, value in random_state(ranks).items() if key in found}
    # Only this rank reads these tensors, so no coordination with the others.
    load(state, folder, alone=True)
    if (cpu := state.get(f"random/cpu/{ranks.rank}")) is not None:
        torch.set_rng_state(cpu)
    if (cuda := state.get(f"random/cuda/{ranks.rank}")) is not None:
        torch.cuda.set_rng_state(cuda)


def saver_thread() -> ThreadPoolExecutor:
    """A thread for saves with low CPU priority (on Linux, each thread has its own nice value)."""
    return ThreadPoolExecutor(1, "saver", initializer=_lower_priority)


def _lower_priority() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Saving:
    """A save in the background: copies the state, then writes the copy.

    Args:
        state: The state of this rank. Its tensors must not change until `await_copy` returns.
        folder: Created if it does not exist; the same on every rank.
        ranks: Every rank must do this, and writes its own part.
        thread: Executor with a single thread, so that there is at most one copy at a time.
    """

    def __init__(self, state: Mapping[str, Tensor], folder: Path, ranks: Ranks, thread: Executor) -> None:
        self._folder = folder
        self._bytes = sum(tensor.nbytes for tensor in state.values())
        self._copy = thread.submit(BlockingAsyncStager().stage, dict(state))
        self._write = thread.submit(self._write_copy, folder, ranks)

    def await_copy(self) -> None:
        """Waits until the state may change again. `wait` raises if the copy failed."""
        futures.wait([self._copy])

    def wait(self) -> None:
        """Waits until the files of every rank are on disk.

        Raises:
            OSError: they could not be written.
        """
        try:
            self._write.result()
        except CheckpointException as e:  # holds the failures of all ranks; report the first
            raise self._reason(next(iter(e.failures.values()))[0]) from e
        except RuntimeError as e:
            raise self._reason(e) from e

    def _reason(self, error: BaseException) -> BaseException:
        """The error to raise: ENOSPC if the disk is full, where torch's writer only reports an unexpected position."""
        if isinstance(error, RuntimeError) and shutil.disk_usage(self._folder).free < self._bytes:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return error

    def _write_copy(self, folder: Path, ranks: Ranks) -> None:
        state_dict_saver.save(
            self._copy.result(),
            storage_writer=FileSystemWriter(folder, sync_files=True),
            process_group=ranks.second_group,
            no_dist=ranks.second_group is None,
        )


def load(state: State, folder: Path, *, alone: bool) -> None:
    """Loads a saved state into the tensors of `state`, in place; ignores other tensors in the folder.

    Raises:
        RlkitError: the folder cannot be read, or lacks a tensor, or one has another shape.
    """
    found = _table_of(folder)
    lacking = [key for key in state if key not in found]
    if lacking:
        raise RlkitError(
            f"the checkpoint {folder} does not fit this recipe: it lacks {len(lacking)} tensors, first {lacking[0]!r}"
        )
    wrong = [key for key, value in state.items() if found[key].size != value.shape]
    if wrong:
        raise RlkitError(
            f"the checkpoint {folder} does not fit this recipe: {wrong[0]!r} has shape {list(found[wrong[0]].size)} "
            f"there and {list(state[wrong[0]].shape)} here"
        )
    try:
        state_dict_loader.load(dict(state), storage_reader=FileSystemReader(folder), no_dist=alone)
    except (CheckpointException, OSError, RuntimeError) as e:
        raise RlkitError(f"the checkpoint {folder} cannot be read: {str(e).strip().splitlines()[0]}") from e


def _table_of(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Metadata of the tensors in a folder, by name."""
    try:
        table = FileSystemReader(folder).read_metadata().state_dict_metadata
    except Exception as e:  # unpickling a damaged file can raise anything
        raise RlkitError(f"the checkpoint {folder} cannot be read: {type(e).__name__}: {e}") from e
    return {key: value for key, value in table.items() if isinstance(value, TensorStorageMetadata)}
