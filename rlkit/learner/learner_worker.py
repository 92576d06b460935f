"""The Ray actor of one learner rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.cluster.node import check_shared_folder, node_address
from rlkit.cluster.ray_start import unblock_sigterm_in_children
from rlkit.disk import replaced_atomically
from rlkit.learner.ranks import Ranks
from rlkit.learner.shard import connect, join_meeting, open_meeting
from rlkit.learner.spec import LearnerSpec, UpdateReport
from rlkit.learner.state import Saving, saver_thread
from rlkit.learner.torch_learner import Learner
from rlkit.models.weight_block import PublishedWeights, WeightBlock


class LearnerWorker:
    """The actor: one rank of the learner."""

    learner: Learner

    def __init__(self) -> None:
        self._saver = saver_thread()
        self._block = WeightBlock()

    def open_meeting(self, spec: LearnerSpec) -> tuple[str, int]:
        """On rank 0: opens the rendezvous of the ranks and returns its (host, port)."""
        host = node_address()
        self._meeting = open_meeting(host, spec.keys.num_workers, timeout_s=spec.keys.deadline_s)
        return host, self._meeting.port

    def start(self, spec: LearnerSpec, rank: int, meeting: tuple[str, int] | None) -> None:
        """Loads the model. Not in __init__: Ray hides the cause of an error there."""
        unblock_sigterm_in_children()
        ranks = Ranks()
        if meeting is not None:
            limit, size = spec.keys.deadline_s, spec.keys.num_workers
            store = self._meeting if rank == 0 else join_meeting(*meeting, size, timeout_s=limit)
            ranks = connect(rank, size, store, device=spec.device, timeout_s=limit)
        self.learner = Learner(spec, ranks)

    def train_step(self, samples: StepSamples) -> UpdateReport:
        """See Learner.train_step."""
        return self.learner.train_step(samples)

    def weights(self) -> tuple[PublishedWeights, None]:
        """(weights, None). The weights go straight into Ray's object store; the driver waits for the None."""
        return self._block.fill(self.learner.weights()), None

    def logprobs_of(self, sequences: Sequences) -> list[list[float]]:
        """See Learner.logprobs_of."""
        return self.learner.logprobs_of(sequences)

    def check_shared_folder(self, file: Path, content: bytes) -> None:
        """See rlkit.cluster.node.check_shared_folder."""
        check_shared_folder(file, content, "a learner rank")

    def save_model(self, out: Path) -> None:
        """See Learner.save_model. The folder is written atomically."""
        if self.learner.ranks.rank > 0:
            self.learner.save_model(out)  # helps to gather the weights and writes nothing
            return
        with replaced_atomically(out) as folder:
            self.learner.save_model(folder)

    def begin_save(self, folder: Path, seal: Callable[[], None]) -> None:
        """Begins to write the learner's state; rank 0 calls `seal` when all ranks have written their parts."""
        saving = self.learner.begin_save(folder)
        self._saving = self._saver.submit(self._end_save, saving, seal)

    def _end_save(self, saving: Saving, seal: Callable[[], None]) -> None:
        saving.wait()
        if self.learner.ranks.rank == 0:
            seal()

    def saved(self, wait: bool) -> bool:
        """Whether the save that was begun last is done; with `wait`, waits for it. Raises its error if it failed."""
        if not (wait or self._saving.done()):
            return False
        self._saving.result()
        return True

    def load_state(self, folder: Path) -> None:
        """See Learner.load_state."""
        self.learner.load_state(folder)
