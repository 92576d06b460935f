"""The base class of stages. To add a kind of stage, subclass `Stage` in one file and add a line to the registry.

Reading a recipe imports the module of each kind that it uses. So these modules import nothing heavy (torch, ray, vllm,
trl) at the top; their methods import what they need.
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
    """Rows that a stage learns from instead of tasks, such as demonstrations or preferences."""

    @property
    def skipped(self) -> Sequence[BadRow]:
        """Rows that could not be used and were skipped."""

    @property
    def described(self) -> str:
        """Their number and kind: "120 demonstrations"."""

    def __len__(self) -> int: ...

    def without(self, wordings: Collection[str]) -> Self:
        """The rows whose prompts are not among `wordings`.

        Raises:
            DataError: no row is left.
        """

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """(prompt, task kind, reply) of each row: training text for the tokenizer of a new model."""


@dataclass(frozen=True)
class StageData:
    """The data of one stage, for training and evaluation."""

    renderer: PromptRenderer
    tasks: Sequence[Task]
    """Training tasks, without the held-out ones; empty if no stage needs tasks."""
    mixture: Mixture | None
    """Their sources; None if there are no tasks."""
    heldout: Sequence[Task]
    """Held-out tasks, for evaluations."""
    rows: StageRows | None
    """This stage's own rows (see `Stage.read_rows`), without those of held-out tasks; None if it has none."""


@dataclass(frozen=True)
class StageStart:
    """Everything that a run passes to a stage when it starts it."""

    run_dir: Path
    run_id: str
    """Stored in the run's checkpoints, to recognise them."""
    base_dir: Path
    """The recipe's folder; `./file.py` plugins are relative to it."""
    model: str
    """Folder or Hub name of the model that the stage starts from."""
    data: StageData
    log: RunLog
    report: Report
    stop: StopSignal
    timer: PhaseTimer
    """Times the run's phases, for summary.json."""
    data_may_differ: bool
    """Whether a resume may continue with other data, or another order of it, than the checkpoint's."""
    evaluated_before: bool
    """Whether the run's "before" evaluation, the baseline for "after", is done."""
    save_before: Callable[[Evaluated, str], None]
    """Records the "before" evaluation and a description of when it was made."""


class Stage(ABC, Generic[K]):
    """One stage of a recipe: defines its data, its part of the plan, how it runs and resumes, and how it cleans up.

    `run` writes the stage's model to the folder `out`; its checkpoints and other files go to `<run>/<name>`.
    """

    Keys: ClassVar[type[StageKeys]]
    """Class of the recipe section for this kind."""
    needs_tasks: ClassVar[bool] = False
    """Whether it learns from the recipe's training tasks."""
    evaluates: ClassVar[bool] = False
    """Whether it evaluates its model itself, before and after; for other stages the run does it."""

    def __init__(self, recipe: Recipe, index: int) -> None:
        """Stage `index` of a recipe."""
        self.recipe = recipe
        self.index = index
        self.name = recipe.stage_name(index)
        keys: Any = recipe.stages[index]
        self.keys: K = keys
        self.done_step = 0
        """The last finished step, including those before a resume."""
        self.kept_model = False
        """Whether the stage was stopped and has saved its model in the run's folder `model`."""

    @property
    def is_last(self) -> bool:
        """Whether it is the recipe's last stage."""
        return self.index == len(self.recipe.stages) - 1

    # -- data

    def read_rows(self) -> StageRows | None:
        """Reads the stage's own rows and checks what can be checked without the model; None if it has no rows.

        Raises:
            DataError: a source or a row cannot be used.
        """
        return None

    def fit_rows(self, rows: StageRows, renderer: PromptRenderer, context: int) -> StageRows:
        """The rows that fit the model's context.

        Args:
            rows: What `read_rows` returned.
            renderer: Renders with the model's tokenizer.
            context: Longest sequence of the model, in tokens.

        Raises:
            DataError: a row does not fit, and the data section's keys ask to stop in that case.
        """
        return rows

    def check_order(self, tasks: Sequence[Task], mixture: Mixture | None, rows: StageRows | None) -> None:
        """Checks that the data can be drawn in the shares that the recipe asks for.

        Raises:
            DataError: it cannot.
        """

    # -- plan

    def user_code(self, base_dir: Path) -> Iterator[tuple[str, Any]]:
        """(recipe key, function or class) of the user's code that the stage's keys name.

        The code is imported and tried before the run starts; a resume checks that it has not changed.

        Args:
            base_dir: The recipe's folder.

        Raises:
            PluginError: the code cannot be imported or used.
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
        """Runs the stage, or resumes it from its newest checkpoint, and writes its model to `out`.

        Returns:
            The evaluation of that model if `evaluates`, else None.

        Raises:
            KeyboardInterrupt: the user stopped the run; finished steps are saved.
            RlkitError: the stage failed.
        """

    def end(self, run_dir: Path) -> None:
        """Deletes files that are not needed once the stage's model is saved. Each resume of the run calls it again."""
