"""A stage of a recipe. A new kind of stage is a subclass of `Stage` in one file, and a line in the registry.

A recipe is read with the module of each of its kinds, so that module imports little when it is imported itself, and
nothing heavy (torch, ray, vllm, trl): methods import what they need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from rlkit.recipe.schema import Recipe, StageKeys

if TYPE_CHECKING:
    from rlkit.cluster.stop import StopSignal
    from rlkit.data.prompts import PromptRenderer
    from rlkit.data.rows import BadRow
    from rlkit.data.tasks import Mixture
    from rlkit.plan.model_size import ModelSize
    from rlkit.plan.stage_plan import FilePlan, RowCounts, StagePlan
    from rlkit.records import Task
    from rlkit.watch.evaluated import Evaluated
    from rlkit.watch.metrics import PhaseTimer
    from rlkit.watch.report import Report
    from rlkit.watch.runlog import RunLog

K = TypeVar("K", bound=StageKeys)


class StageRows(Protocol):
    """Rows that a stage learns from in place of tasks: demonstrations, preferences."""

    @property
    def skipped(self) -> Sequence[BadRow]:
        """Rows that cannot be used."""

    @property
    def described(self) -> str:
        """Their number and what they are: "120 demonstrations"."""

    def __len__(self) -> int: ...

    def without(self, wordings: Collection[str]) -> Self:
        """Those of other prompts than these.

        Raises:
            DataError: nothing is left.
        """

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """(prompt, task kind, reply) of each: what the tokenizer of a model made from nothing learns its words from."""


@dataclass(frozen=True)
class StageData:
    """What there is to learn from and to be evaluated on."""

    renderer: PromptRenderer
    tasks: Sequence[Task]
    """Training tasks, without the held-out ones; empty where no stage needs any."""
    mixture: Mixture | None
    """Their sources; None where there are no tasks."""
    heldout: Sequence[Task]
    """For the evaluations."""
    rows: StageRows | None
    """Of this stage alone, see `Stage.read_rows`; without those of held-out tasks."""


@dataclass(frozen=True)
class StageStart:
    """What a run gives to a stage that it starts."""

    run_dir: Path
    run_id: str
    """Marks the run's checkpoints as its own."""
    base_dir: Path
    """The recipe's folder: `./file.py` plugins are beside it."""
    model: str
    """Folder or Hub name of the model that the stage starts from."""
    data: StageData
    log: RunLog
    report: Report
    stop: StopSignal
    timer: PhaseTimer
    """Of the run's phases, as summary.json shows them."""
    data_may_differ: bool
    """Whether a resume may go on with other data, or another order of it, than its checkpoint's."""
    evaluated_before: bool
    """Whether the run's first evaluation, which "after" is compared with, is done."""
    note_before: Callable[[Evaluated, str], None]
    """Keeps that evaluation, with its name."""


class Stage(ABC, Generic[K]):
    """One stage of a recipe: what data it needs, what a plan says of it, how it runs and resumes, what it leaves.

    Its model goes to the folder that `run` is given; its checkpoints and other files to `<run>/<name>`.
    """

    Keys: ClassVar[type[StageKeys]]
    """The section of the recipe that describes a stage of this kind."""
    needs_tasks: ClassVar[bool] = False
    """Whether it learns from the recipe's training tasks."""
    evaluates: ClassVar[bool] = False
    """Whether it evaluates its own model before and after; of other stages the run does."""

    def __init__(self, recipe: Recipe, index: int) -> None:
        """Stage `index` of a recipe."""
        self.recipe = recipe
        self.index = index
        self.name = recipe.stage_name(index)
        keys: Any = recipe.stages[index]
        self.keys: K = keys
        self.done_step = 0
        """The last step that is done, in this start or an earlier one."""
        self.kept_model = False
        """Whether a stage that was stopped has left its model in the run's folder `model`."""

    @property
    def is_last(self) -> bool:
        """Whether no stage starts from its model."""
        return self.index == len(self.recipe.stages) - 1

    # -- data

    def read_rows(self) -> StageRows | None:
        """Rows of its own, checked as far as that goes without the model; None: it has none.

        Raises:
            DataError: a source or a row cannot be used.
        """
        return None

    def fit_rows(self, rows: StageRows, renderer: PromptRenderer, context: int) -> StageRows:
        """The rows that the model can take.

        Args:
            rows: What `read_rows` returned.
            renderer: Of the model's tokenizer.
            context: Longest sequence of the model, in tokens.

        Raises:
            DataError: a row cannot be taken, and the data's keys say to stop then.
        """
        return rows

    def check_order(self, tasks: Sequence[Task], mixture: Mixture | None, rows: StageRows | None) -> None:
        """Sees that the data can be drawn in the shares that the recipe asks for.

        Raises:
            DataError: it cannot.
        """

    # -- plan

    def own_code(self, base_dir: Path) -> Iterator[tuple[str, Any]]:
        """(recipe key, function or class) of the user's own code that its keys name: imported, tried before anything
        starts, and compared by a resume.

        Args:
            base_dir: The recipe's folder.

        Raises:
            PluginError: it cannot be imported or used.
        """
        yield from ()

    @abstractmethod
    def plan(self, rows: RowCounts | None) -> StagePlan:
        """See rlkit.plan.stage_plan.PlannedStage."""

    def files(self, folder: Path, size: ModelSize) -> Iterator[FilePlan]:
        """See rlkit.plan.stage_plan.PlannedStage."""
        yield from ()

    # -- run

    @abstractmethod
    def run(self, start: StageStart, out: Path) -> Evaluated | None:
        """Does the stage, or what is left of it after its newest checkpoint, and writes its model to `out`.

        Returns:
            The evaluation of that model, where `evaluates`.

        Raises:
            KeyboardInterrupt: the user asked to stop; what was done is kept.
            RlkitError: it cannot be done.
        """

    def end(self, run_dir: Path) -> None:
        """Drops what nothing needs once the stage is done and its model kept; called again at each later start."""
