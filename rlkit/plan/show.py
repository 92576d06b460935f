"""Prints a plan as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rlkit.plan.make_plan import Plan
from rlkit.plan.memory import amount

MIN_WIDTH = 110
"""Tables are at least this wide, in characters, also on narrower terminals and pipes."""
MAX_BUNDLES = 12
"""Maximum number of bundles that are listed."""


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Prints tables of stages, memory, placement and files."""
    console = console or Console(highlight=False)
    console.width = max(console.width, MIN_WIDTH)
    parameters = f"{plan.parameters:,} parameters" if plan.parameters is not None else plan.parameters_unknown
    console.print(f"model: {parameters}; data: {_data(plan)}", markup=False)
    for table in (_stages(plan), _memory(plan), _actors(plan), _bundles(plan), _files(plan), _worked_out(plan)):
        if table.row_count:
            console.print(table)
    machine = plan.machine
    console.print(
        f"here: {machine.cpus} cores, {amount(machine.memory_gib)} of memory free, {amount(machine.shm_gib)} in "
        f"/dev/shm, {amount(machine.disk_gib)} of disk, {len(machine.gpus_gib)} GPUs; "
        f"the run needs about {amount(plan.total_memory_gib)} of memory",
        markup=False,
    )
    for note in plan.notes:
        console.print(f"note: {note}", markup=False)


def _data(plan: Plan) -> str:
    if plan.rows is None:
        return "not read yet"
    parts = [f"{n:,} demonstrations for stages.{i}" for i, n in plan.rows.demonstrations.items()]
    if plan.rows.tasks is not None:
        parts = [f"{plan.rows.tasks:,} training tasks", f"{plan.rows.heldout:,} held out", *parts]
    return ", ".join(parts)


def _table(title: str, *columns: str, text: tuple[int, ...] = (0,)) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i in text else "right", overflow="fold")
    return table


def _stages(plan: Plan) -> Table:
    table = _table(
        "\nstages", "stage", "steps", "prompts/step", "samples/step", "samples", "updates", "tokens <=", "steps/epoch"
    )
    for s in plan.stages:
        per_epoch = f"{s.steps_per_epoch:.1f}" if s.steps_per_epoch is not None else "?"
        counts = (s.steps, s.prompts_per_step, s.samples_per_step, s.samples, s.updates, s.max_tokens)
        table.add_row(s.name, *(f"{n:,}" if n is not None else "?" for n in counts), per_epoch)
    return table


def _memory(plan: Plan) -> Table:
    table = _table("\nmemory, estimated", "what", "learner", "engine")
    m = plan.memory
    table.add_row("weights", amount(m.weights_gib), amount(m.engine_weights_gib))
    table.add_row("gradients", amount(m.gradients_gib), "")
    table.add_row("AdamW moments", amount(m.optimizer_gib), "")
    if m.gathered_gib:
        table.add_row("gathered weights", amount(m.gathered_gib), "")
    table.add_row("activations", amount(m.activations_gib), amount(m.engine_scratch_gib))
    table.add_row("copy for a checkpoint", amount(m.copy_gib), "")
    table.add_row("key-value cache", "", amount(m.kv_cache_gib))
    table.add_row("runtime", amount(m.learner_runtime_gib), amount(m.engine_runtime_gib))
    table.add_row("sum", amount(m.learner_gib), amount(m.engine_gib))
    return table


def _actors(plan: Plan) -> Table:
    table = _table("\nplacement", "actor", "threads", "GPUs", "memory each")
    for a in plan.actors:
        table.add_row(a.name, str(a.threads), f"{a.gpus:g}", amount(a.memory_gib))
    return table


def _bundles(plan: Plan) -> Table:
    table = _table(f"\nbundles, {plan.strategy}", "bundle", "CPUs", "GPUs")
    for b in plan.bundles[:MAX_BUNDLES]:
        table.add_row(b.actors, f"{b.cpus:g}", f"{b.gpus:g}")
    if len(plan.bundles) > MAX_BUNDLES:
        table.add_row(f"{len(plan.bundles) - MAX_BUNDLES} more", "", "")
    return table


def _files(plan: Plan) -> Table:
    table = _table("\nwritten to disk", "where", "size <=", "what", text=(0, 2))
    for f in plan.files:
        table.add_row(f.path, "small" if f.gib == 0 else amount(f.gib), f.what)
    return table


def _worked_out(plan: Plan) -> Table:
    table = _table("\nvalues that the recipe does not give", "key", "value", "chosen by", text=(0, 1, 2))
    for item in plan.worked_out:
        value = f"{item.value:g}" if isinstance(item.value, float) else str(item.value)
        table.add_row(item.key, value, item.why)
    return table
