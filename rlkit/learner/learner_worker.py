"""One rank of the learner as an actor's class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlkit.cluster.node import check_sees, node_address
from rlkit.cluster.ray_start import unblock_sigterm_in_children
from rlkit.disk import replaced_atomically
from rlkit.learner.ranks import Ranks
from rlkit.learner.shard import connect, join_meeting, open_meeting
from rlkit.learner.spec import LearnerSpec, UpdateReport
from rlkit.learner.state import Saving, saver_thread
from rlkit.learner.torch_learner import Learner
from rlkit.models.weight_block import PublishedWeights, WeightBlock
from rlkit.records import Sequences, StepSamples


class LearnerWorker:
    """The actor's side: one rank."""

    learner: Learner

    def __init__(self) -> None:
        self._saver = saver_thread()
        self._block = WeightBlock()

    def open_meeting(self, spec: LearnerSpec) -> tuple[str, int]:
        """On rank 0: where the ranks find each other, as (host, port)."""
        host = node_address()
        self._meeting = open_meeting(host, spec.keys.num_workers, timeout_s=spec.keys.deadline_s)
        return host, self._meeting.port

    def start(self, spec: LearnerSpec, rank: int, meeting: tuple[str, int] | None) -> None:
        """Loads the model. Not in __init__: Ray hides the cause of what fails there."""
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
        """The weights, and nothing: two return values, so that they go straight into the object store and the driver
        sees by the other one that they are there."""
        return self._block.fill(self.learner.weights()), None

    def logprobs_of(self, sequences: Sequences) -> list[list[float]]:
        """See Learner.logprobs_of."""
        return self.learner.logprobs_of(sequences)

    def check_sees(self, file: Path, content: bytes) -> None:
        """See rlkit.cluster.node.check_sees."""
        check_sees(file, content, "a learner rank")

    def save_model(self, out: Path) -> None:
        """See Learner.save_model; the model is on the disk before anything says that it is there."""
        if self.learner.ranks.rank > 0:
            self.learner.save_model(out)  # takes part and writes nothing
            return
        with replaced_atomically(out) as folder:
            self.learner.save_model(folder)

    def begin_save(self, folder: Path, seal: Callable[[], None]) -> None:
        """Begins to write the learner's state; rank 0 seals the checkpoint once all have written theirs."""
        saving = self.learner.begin_save(folder)
        self._saving = self._saver.submit(self._end_save, saving, seal)

    def _end_save(self, saving: Saving, seal: Callable[[], None]) -> None:
        saving.wait()
        if self.learner.ranks.rank == 0:
            seal()

    def saved(self, wait: bool) -> bool:
        """Whether the save that was begun last is over, after it where `wait`; raises what it failed of."""
        if not (wait or self._saving.done()):
            return False
        self._saving.result()
        return True

    def load_state(self, folder: Path) -> None:
        """See Learner.load_state."""
        self.learner.load_state(folder)
