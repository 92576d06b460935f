"""`data` and `evaluation`: where tasks come from and how prompts are built from them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import PathText, Section

Mapping = Literal["plain", "gsm8k", "math", "humaneval", "mbpp", "apps", "livecodebench"]
TASK_KINDS = ("math", "code", "exact", "choice", "numeric")
"""Task kinds that the built-in accuracy part judges."""


class FieldsKeys(Section):
    """Which column holds which field. A dotted name such as `turns.0.text` reads inside objects and lists.

    rlkit infers prompt, reference and response from the column names if they are not given.
    """

    prompt: str = "prompt"
    """Column with the problem's text or with chat messages; or a template with column names in braces, such as
    "{Body} {Question}"."""
    reference: str | None = "reference"
    """Column with the reference answer, a list of accepted answers, or the code tests."""
    response: str | None = None
    """Column with a demonstration's reply, for SFT."""
    id: str | None = None
    """Column with a stable id; by default the row number."""
    kind: str | None = None
    """Column with the task kind: "math", "code", "exact", "choice", "numeric" or a kind of your own
    (`reward.accuracy.judges`). By default the source's `kind`. Without either, rlkit infers the kind from the
    reference: an object is code, true or false is exact, one of the row's `choices` is choice, anything else is
    math."""
    domain: str | None = "metadata.domain"
    """Column with the domain, for filters and mixtures."""
    difficulty: str | None = "metadata.difficulty"
    """Column with the difficulty, for filters and mixtures."""


class FilterKeys(Section):
    """Keeps the rows that match every list given here."""

    domain: list[str] | None = None
    """Domains to keep."""
    difficulty: list[str | int | float] | None = None
    """Difficulties to keep."""
    kind: list[str] | None = None
    """Task kinds to keep."""


class SourceKeys(Section):
    """One place to read rows from."""

    path: PathText = Field(min_length=1)
    """File (.jsonl, .json, .csv, each also .gz, or .parquet), folder, Hub name (`owner/name` or
    `owner/name?config=main`), or `builtin:NAME`."""
    split: str = "train"
    """Split of a folder, a Hub data set or a built-in source."""
    mapping: Mapping | None = None
    """A built-in column mapping; by default inferred from the columns."""
    fields: FieldsKeys | None = None
    """Your own column mapping, instead of a built-in one."""
    kind: str | None = Field(None, min_length=1)
    """Task kind of rows that do not name one, such as choice."""
    filter: FilterKeys | None = None
    """Which rows to keep."""
    max_rows: int | None = Field(None, ge=1)
    """Read at most this many rows, from the start."""

    @model_validator(mode="after")
    def _check_one_mapping(self) -> Self:
        if self.mapping is not None and self.fields is not None:
            raise ValueError("give one of mapping and fields, not both")
        return self


class WeightedSourceKeys(SourceKeys):
    """One source of a mixture."""

    weight: float = Field(1.0, gt=0)
    """Relative weight of this source in the mixture."""


class PromptKeys(Section):
    """How a task becomes a prompt."""

    template: str = "{prompt}\n\nPut the final answer in \\boxed{{}}."
    """User message; {prompt} is replaced by the task's text, and double braces become single ones."""
    code_template: str = "{prompt}\n\nPut the program in one ```python block."
    """User message of code tasks."""
    templates: dict[str, str] = Field(default_factory=dict)
    """User message by task kind, such as `choice: "{prompt} Answer with one letter in \\boxed{{}}."`."""
    system: str | None = None
    """System message; none by default. A row's own system message replaces it."""
    force_think: bool = True
    """Begin the reply with <think> and a newline, so that the model reasons first; each sample's text includes it."""

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
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
                raise ValueError(f"{name} does not contain {{prompt}}: add it where the task's text goes")
        return self

    def template_for(self, kind: str) -> str:
        """The template of tasks of a kind."""
        return self.templates.get(kind, self.code_template if kind == "code" else self.template)


class RowsKeys(Section):
    """Training rows: one `path`, or several `sources` mixed by weight."""

    path: PathText | None = None
    """Path of the only source; split, mapping, fields, kind and filter then belong to it."""
    split: str = "train"
    """Split of `path`; see sources."""
    mapping: Mapping | None = None
    """Built-in column mapping of `path`; see sources."""
    fields: FieldsKeys | None = None
    """Your own column mapping of `path`; see sources."""
    kind: str | None = Field(None, min_length=1)
    """Task kind of rows of `path` that do not name one; see sources."""
    filter: FilterKeys | None = None
    """Which rows of `path` to keep; see sources."""
    max_rows: int | None = Field(None, ge=1)
    """Read at most this many rows of each source."""
    sources: list[WeightedSourceKeys] | None = None
    """Several sources, instead of `path`."""
    domain_shares: dict[str, float] = Field(default_factory=dict)
    """Minimum share of a domain among the drawn tasks, such as {algebra: 0.3}; the other tasks are drawn at random."""
    stratify_by: Literal["domain", "difficulty"] | None = None
    """Order each epoch so that every part of it holds this column's values in their overall proportions."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a bad row, one that cannot be used: stop with file:line and the reason, or skip and list it."""

    @model_validator(mode="after")
    def _check_has_rows(self) -> Self:
        if self.path is None and self.sources is None:
            raise ValueError("give exactly one of path and sources, here neither is given")
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
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
        """All sources: those of `sources`, or `path` as the only one; empty if neither is given."""
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
    """The run's tasks and their prompts."""

    max_prompt_tokens: int | None = Field(None, ge=1)
    """Maximum length of a prompt, in tokens; by default the context length less rollout.max_tokens."""
    prompt: PromptKeys = Field(default_factory=PromptKeys)
    """How a task becomes a prompt, in every stage."""

    @model_validator(mode="after")
    def _check_has_rows(self) -> Self:
        return self  # Recipe checks it: only the stages show whether data is needed


class EvaluationKeys(Section):
    """Evaluation on held-out tasks, before training, every N steps and after. They are never trained on."""

    sources: list[SourceKeys] | None = None
    """Sources of the held-out tasks; training tasks with the same prompt are removed. By default `holdout` tasks are
    taken out of the training data."""
    holdout: int | None = Field(None, ge=0)
    """Without sources: number of training tasks to hold out, drawn with the run's seed; 0: no evaluation. By default a
    tenth of them, at least 16 and at most 256, but never more than a quarter."""
    max_rows: int | None = Field(None, ge=1)
    """Use at most this many held-out tasks, drawn with the run's seed."""
    every: int = Field(0, ge=0)
    """Steps between two evaluations inside an RL stage; 0: only before and after."""
    samples_per_prompt: int = Field(1, ge=1, le=1024)
    """Sampled replies per task, at rollout.temperature."""
    greedy: bool = True
    """Also judge one greedy reply per task."""

    def num_held_out(self, num_tasks: int) -> int:
        """How many of `num_tasks` training tasks are held out: `holdout`, or its default."""
        if self.sources is not None:
            return 0
        if self.holdout is not None:
            return self.holdout
        return min(max(num_tasks // 10, 16), 256, num_tasks // 4)
