"""Learner ranks in processes of their own, kept up for a module's tests."""

import traceback

import torch
import torch.multiprocessing as mp

from rlkit.learner.shard import connect, join_meeting, open_meeting

LIMIT_S = 120


class RankProcesses:
    """Runs functions on `size` ranks at once; `call(f, *args)` gives every rank's f(ranks, *args)."""

    def __init__(self, size: int) -> None:
        context = mp.get_context("spawn")
        self._meeting = open_meeting("127.0.0.1", size, timeout_s=LIMIT_S)
        self._pipes, self._children = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            child = context.Process(target=_serve, args=(theirs, rank, size, self._meeting.port), daemon=True)
            child.start()
            theirs.close()
            self._pipes.append(ours)
            self._children.append(child)

    @property
    def alive(self) -> bool:
        return all(child.is_alive() for child in self._children)

    def call(self, function, *args):
        for pipe in self._pipes:
            pipe.send((function, args))
        results = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(LIMIT_S), f"rank {rank} gave no answer"
            try:
                results.append(pipe.recv())
            except EOFError as e:
                child = self._children[rank]
                child.join(LIMIT_S)
                raise RuntimeError(f"rank {rank} is dead, exit code {child.exitcode}") from e
        failed = [text for text, _ in results if text]
        assert not failed, "\n".join(failed)
        return [value for _, value in results]

    def close(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.join()


def _serve(pipe, rank: int, size: int, port: int) -> None:
    torch.set_num_threads(1)
    store = join_meeting("127.0.0.1", port, size, timeout_s=LIMIT_S)
    ranks = connect(rank, size, store, device="cpu", timeout_s=LIMIT_S)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("", function(ranks, *args)))
        except Exception:
            pipe.send((traceback.format_exc(), None))
