"""`data` and `evaluation`: where tasks come from and how they are shown to the model."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import PathText, Section

Mapping = Literal["plain", "gsm8k", "math", "humaneval", "mbpp", "apps", "livecodebench"]
TASK_KINDS = ("math", "code", "exact", "choice", "numeric")
"""Kinds of task that the built-in accuracy part judges."""


class FieldsKeys(Section):
    """Which column holds what; a dotted name such as `turns.0.text` reaches into objects and lists.

    Of prompt, reference and response, what is left out is told from the columns' names.
    """

    prompt: str = "prompt"
    """Column of the problem's text, or of chat messages; or a text with columns in braces, "{Body} {Question}"."""
    reference: str | None = "reference"
    """Column of the gold answer, of a list of accepted ones, or of the code tests."""
    response: str | None = None
    """Column of a demonstration's reply, for SFT."""
    id: str | None = None
    """Column of a stable id; by default the row's number."""
    kind: str | None = None
    """Column that says "math", "code", "exact", "choice", "numeric" or a kind of your own (`reward.accuracy.judges`);
    by default the source's `kind`, else told: code for an object, exact for true or false, choice where the reference
    is one of the row's `choices`, math for anything else."""
    domain: str | None = "metadata.domain"
    """Column of the domain, for filters and mixtures."""
    difficulty: str | None = "metadata.difficulty"
    """Column of the difficulty, for filters and mixtures."""


class FilterKeys(Section):
    """Keeps the rows that match every given list."""

    domain: list[str] | None = None
    """Domains to keep."""
    difficulty: list[str | int | float] | None = None
    """Difficulties to keep."""
    kind: list[str] | None = None
    """Kinds of task to keep."""


class SourceKeys(Section):
    """One place to read rows from."""

    path: PathText = Field(min_length=1)
    """File (.jsonl, .json, .csv, each also .gz, or .parquet), folder, Hub name (`owner/name` or
    `owner/name?config=main`), or `builtin:NAME`."""
    split: str = "train"
    """Split of a folder, a Hub data set or a built-in source."""
    mapping: Mapping | None = None
    """A ready mapping of columns; told from the columns where it is left out."""
    fields: FieldsKeys | None = None
    """A mapping of your own instead of a ready one."""
    kind: str | None = Field(None, min_length=1)
    """Kind of the tasks whose row names none, such as choice."""
    filter: FilterKeys | None = None
    """Rows to keep."""
    max_rows: int | None = Field(None, ge=1)
    """Read at most this many rows, from the start."""

    @model_validator(mode="after")
    def _one_mapping(self) -> Self:
        if self.mapping is not None and self.fields is not None:
            raise ValueError("give one of mapping and fields, not both")
        return self


class WeightedSourceKeys(SourceKeys):
    """A source of a mixture."""

    weight: float = Field(1.0, gt=0)
    """Share of this source in the mixture, against the other sources' weights."""


class PromptKeys(Section):
    """How a task becomes what the model sees, R1 style."""

    template: str = "{prompt}\n\nPut the final answer in \\boxed{{}}."
    """Text of the user's turn; {prompt} is the task's text, double braces stand for single ones."""
    code_template: str = "{prompt}\n\nPut the program in one ```python block."
    """The same for code tasks."""
    templates: dict[str, str] = Field(default_factory=dict)
    """By kind: a text of its own, such as `choice: "{prompt} Answer with one letter in \\boxed{{}}."`."""
    system: str | None = None
    """System turn; none by default. A row's own system message takes its place."""
    force_think: bool = True
    """Begin the reply with <think> and a newline, so that the model reasons first; samples hold it too."""

    @model_validator(mode="after")
    def _templates_format(self) -> Self:
        texts = {"template": self.template, "code_template": self.code_template}
        for name, text in (texts | {f"templates.{kind}": text for kind, text in self.templates.items()}).items():
            try:
                shown = text.format(prompt="\0")
            except (KeyError, IndexError, ValueError, AttributeError) as e:
                raise ValueError(
                    f"{name}={text!r} has braces that are not {{prompt}} ({e}): write {{prompt}} where the task's text "
                    "goes, and {{ and }} for plain braces"
                ) from e
            if "\0" not in shown:
                raise ValueError(f"{name} does not contain {{prompt}}, which stands for the task's text: put it in")
        return self

    def template_for(self, kind: str) -> str:
        """The text for tasks of a kind."""
        return self.templates.get(kind, self.code_template if kind == "code" else self.template)


class RowsKeys(Section):
    """Rows to learn from: one `path`, or `sources` mixed by weight."""

    path: PathText | None = None
    """The only source's path; its other keys stand beside it."""
    split: str = "train"
    """As in sources."""
    mapping: Mapping | None = None
    """As in sources."""
    fields: FieldsKeys | None = None
    """As in sources."""
    kind: str | None = Field(None, min_length=1)
    """As in sources."""
    filter: FilterKeys | None = None
    """As in sources."""
    max_rows: int | None = Field(None, ge=1)
    """Read at most this many rows of each source."""
    sources: list[WeightedSourceKeys] | None = None
    """Several sources instead of `path`."""
    domain_shares: dict[str, float] = Field(default_factory=dict)
    """Least share of the drawn tasks by domain, such as {algebra: 0.3}; the rest is drawn as it comes."""
    stratify_by: Literal["domain", "difficulty"] | None = None
    """Spread each epoch so that every stretch of tasks holds this column's values in their overall shares."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """A row that cannot be used: stop with file:line and reason, or skip, count and list it."""

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if self.path is None and self.sources is None:
            raise ValueError("give exactly one of path and sources, here neither is given")
        return self

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        if self.path is not None and self.sources is not None:
            raise ValueError("give exactly one of path and sources, here both are given")
        if self.sources is not None and not self.sources:
            raise ValueError("sources is empty: name at least one, or give path")
        of_one = [key for key in ("mapping", "fields", "kind", "filter") if getattr(self, key)]
        if self.sources is not None and of_one:
            raise ValueError(
                f"mapping, fields, kind and filter belong to each source: move {' and '.join(of_one)} into the entries "
                "of sources"
            )
        if self.mapping is not None and self.fields is not None:
            raise ValueError("give one of mapping and fields, not both")
        if any(not 0 < share <= 1 for share in self.domain_shares.values()) or sum(self.domain_shares.values()) > 1:
            shares = ", ".join(f"{domain}: {share:g}" for domain, share in self.domain_shares.items())
            raise ValueError(
                f"domain_shares={{{shares}}}: each share must be above 0, and together they must be at most 1"
            )
        return self

    def all_sources(self) -> list[WeightedSourceKeys]:
        """The sources, whichever way they were written; none where the recipe names none."""
        if self.sources is not None:
            if self.max_rows is None:
                return self.sources
            return [
                s.model_copy(update={"max_rows": min(s.max_rows or self.max_rows, self.max_rows)}) for s in self.sources
            ]
        if self.path is None:
            return []
        return [
            WeightedSourceKeys(
                path=self.path,
                split=self.split,
                mapping=self.mapping,
                fields=self.fields,
                kind=self.kind,
                filter=self.filter,
                max_rows=self.max_rows,
            )
        ]


class DataKeys(RowsKeys):
    """The run's tasks, and how the model is shown them."""

    max_prompt_tokens: int | None = Field(None, ge=1)
    """Longest rendered prompt; by default what the context leaves after rollout.max_tokens."""
    prompt: PromptKeys = Field(default_factory=PromptKeys)
    """How tasks are shown to the model, in every stage."""

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        return self  # the recipe knows whether a stage reads any


class EvaluationKeys(Section):
    """Held-out tasks: judged before, every N steps and after, never trained on."""

    sources: list[SourceKeys] | None = None
    """Where held-out tasks come from (training tasks of the same prompt are left out); by default `holdout` rows are
    taken out of the training data."""
    holdout: int | None = Field(None, ge=0)
    """Without sources: how many training tasks to set apart, drawn with the run's seed; 0: no evaluation; by default a
    tenth of them, at least 16 and at most 256, but never more than a quarter."""
    max_rows: int | None = Field(None, ge=1)
    """Use at most this many held-out tasks, drawn with the run's seed."""
    every: int = Field(0, ge=0)
    """Steps between two evaluations inside an RL stage; 0: only before and after."""
    samples_per_prompt: int = Field(1, ge=1, le=1024)
    """Sampled replies a task, at the rollout's temperature."""
    greedy: bool = True
    """Also judge one greedy reply a task."""

    def num_held_out(self, num_tasks: int) -> int:
        """How many of `num_tasks` tasks the training data sets apart; `holdout` says so where it is given."""
        if self.sources is not None:
            return 0
        if self.holdout is not None:
            return self.holdout
        return min(max(num_tasks // 10, 16), 256, num_tasks // 4)
