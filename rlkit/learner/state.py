"""What a learner writes down to go on later, through torch.distributed.checkpoint: every rank its own part.

A state is one flat table of tensors, "policy/model.layers.0...", "policy.optimizer/...". Sharded tensors are saved by
their parts and read by whatever parts the ranks of the next run have, so their number may differ.
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

# It remarks on a process that is alone on purpose.
warnings.filterwarnings("ignore", message="torch.distributed is (disabled|unavailable)", category=UserWarning)


def weights_state(part: str, named: Iterable[tuple[str, Tensor]]) -> State:
    """The weights themselves, not copies: reading into this table changes the network."""
    return {f"{part}/{name}": p.detach() for name, p in named}


def trained_state(part: str, module: nn.Module) -> State:
    """The same of the weights that learn; the others are the start model's."""
    return weights_state(part, ((name, p) for name, p in module.named_parameters() if p.requires_grad))


def optimizer_state(part: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """The moments and counts of each weight that was stepped, under its name."""
    return {
        f"{part}/{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def room_for_optimizer(part: str, module: nn.Module, optimizer: torch.optim.Optimizer, saved: Path) -> State:
    """Gives an optimizer that has not stepped yet tensors to read a saved state into; returns them as a table."""
    found = _table_of(saved)
    optimizer.state.clear()
    for name, parameter in module.named_parameters():
        prefix = f"{part}/{name}/"
        for key in [key for key in found if key.startswith(prefix)]:
            optimizer.state[parameter][key.removeprefix(prefix)] = _room(found[key], parameter, optimizer)
    return optimizer_state(part, module, optimizer)


def _room(saved: TensorStorageMetadata, parameter: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    dtype = saved.properties.dtype
    if saved.size == parameter.shape:
        return torch.zeros_like(parameter, dtype=dtype)  # sharded like its weight
    # Counts of updates live beside the weight only where the step is one fused kernel.
    device = parameter.device if any(group.get("fused") for group in optimizer.param_groups) else "cpu"
    return torch.zeros(saved.size, dtype=dtype, device=device)


def settle(optimizer: torch.optim.Optimizer) -> None:
    """Makes counts that were read as tensors plain numbers again, where the optimizer keeps them so (bitsandbytes)."""
    for kept in optimizer.state.values():
        kept |= {key: int(value) for key, value in kept.items() if value.ndim == 0 and value.dtype == torch.int64}


def random_state(ranks: Ranks) -> State:
    """Every rank's own random generators."""
    state = {f"random/cpu/{ranks.rank}": torch.get_rng_state()}
    if torch.cuda.is_available():
        state[f"random/cuda/{ranks.rank}"] = torch.cuda.get_rng_state()
    return state


def load_random(ranks: Ranks, folder: Path) -> None:
    """Takes up this rank's generators; a rank or device that the folder does not know keeps its own."""
    found = _table_of(folder)
    state = {key: value for key, value in random_state(ranks).items() if key in found}
    # Only this rank reads these: no agreement with the others.
    load(state, folder, alone=True)
    if (cpu := state.get(f"random/cpu/{ranks.rank}")) is not None:
        torch.set_rng_state(cpu)
    if (cuda := state.get(f"random/cuda/{ranks.rank}")) is not None:
        torch.cuda.set_rng_state(cuda)


def saver_thread() -> ThreadPoolExecutor:
    """A thread for saves, which gives way to whatever else wants the CPU (on Linux each thread has a nice value)."""
    return ThreadPoolExecutor(1, "saver", initializer=_give_way)


def _give_way() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Saving:
    """A save that goes on: first a copy of the state is made, then that is written.

    Args:
        state: Of this rank, and its tensors not to change until `await_copy` is over.
        folder: Made where it is not there; the same for every rank.
        ranks: Who writes, each its own part: every one of them must do this.
        thread: Does it; of a single thread, so that there is never more than one copy.
    """

    def __init__(self, state: Mapping[str, Tensor], folder: Path, ranks: Ranks, thread: Executor) -> None:
        self._folder = folder
        self._bytes = sum(tensor.nbytes for tensor in state.values())
        self._copy = thread.submit(BlockingAsyncStager().stage, dict(state))
        self._write = thread.submit(self._write_copy, folder, ranks)

    def await_copy(self) -> None:
        """Waits until the state may change again; what went wrong with its copy is `wait`'s to tell."""
        futures.wait([self._copy])

    def wait(self) -> None:
        """Waits until every rank's files are on the disk.

        Raises:
            OSError: they could not be written.
        """
        try:
            self._write.result()
        except CheckpointException as e:  # of all ranks' failures; the first tells enough
            raise self._reason(next(iter(e.failures.values()))[0]) from e
        except RuntimeError as e:
            raise self._reason(e) from e

    def _reason(self, error: BaseException) -> BaseException:
        """On a full disk torch's writer only says that a position was not what it expected."""
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
    """Reads a state into the tensors of `state`, in place; what the folder holds besides stays unread.

    Raises:
        RlkitError: the folder cannot be read, or lacks something.
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
    """What a folder holds, by name."""
    try:
        table = FileSystemReader(folder).read_metadata().state_dict_metadata
    except Exception as e:  # unpickling a torn file can raise anything
        raise RlkitError(f"the checkpoint {folder} cannot be read: {type(e).__name__}: {e}") from e
    return {key: value for key, value in table.items() if isinstance(value, TensorStorageMetadata)}
