"""The SFT stage's own checkpoints: gone on from any of them, the training is the one that was never interrupted."""

import math
import random
from dataclasses import replace

import pytest
import torch

from rlkit.errors import CheckpointError, DataError, RlkitError
from rlkit.keep.checkpoint import find_checkpoint
from rlkit.models.pretrained import load_model
from rlkit.models.save import save_model
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import CheckpointKeys, Recipe, SftKeys
from rlkit.stages.offline.finetune import CheckpointWriter, SftRun
from rlkit.stages.offline.sft import SftSpec, run_sft
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog

STEPS = 5


class Killed(BaseException):
    """Nothing below catches it."""


class Told:
    """Keeps what a stage tells; `dies_at` so many steps."""

    def __init__(self, dies_at=None):
        self.dies_at = dies_at
        self.steps, self.events = [], []

    def step(self, figures):
        self.steps.append(figures)
        if figures["step"] == self.dies_at:
            raise Killed

    def event(self, kind, text):
        self.events.append((kind, text))


def writer_of_another_run(folder):
    return CheckpointWriter(folder / "others", "another", keep_last=9, data="these")


@pytest.fixture(autouse=True)
def _torch_as_before():
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def spec(tiny_model, tmp_path):
    """A stage of five steps whose learning rate changes at each."""
    rng = random.Random(0)
    rows = [tuple(rng.randrange(300) for _ in range(rng.randint(8, 24))) for _ in range(4 * STEPS)]
    return SftSpec(
        model_path=str(tiny_model),
        stage=SftKeys(kind="sft", steps=STEPS, batch_size=4, learning_rate=1e-3, lr_schedule="cosine", warmup_steps=2),
        demonstrations=[(ids, (0, 0) + (1,) * (len(ids) - 2)) for ids in rows],
        out=tmp_path / "out",
        work_dir=tmp_path / "trainer",
        checkpoint=CheckpointKeys(every=2),
        save_checkpoint=CheckpointWriter(tmp_path / "checkpoints", "this run", keep_last=2, data="these"),
        resume_from=None,
        seed=0,
        precision="float32",
        threads=1,
        use_gpu=False,
        activation_checkpointing=False,
        deterministic=True,
    )


def newest(tmp_path):
    return find_checkpoint(tmp_path / "checkpoints", "this run").checkpoint


def weights(spec):
    return (spec.out / "model.safetensors").read_bytes()


def test_gone_on_from_a_checkpoint_steps_and_weights_are_those_of_the_whole(spec, tmp_path):
    whole = Told()
    run_sft(
        replace(
            spec,
            out=tmp_path / "whole",
            save_checkpoint=CheckpointWriter(tmp_path / "others", "another", keep_last=9, data="these"),
        ),
        whole,
    )
    assert [figures["step"] for figures in whole.steps] == [1, 2, 3, 4, 5]
    assert len({figures["learner/learning_rate"] for figures in whole.steps}) > 3
    for dies_at, found in ((1, None), (4, 2), (5, 4)):
        start = newest(tmp_path)
        with pytest.raises(Killed):
            run_sft(replace(spec, resume_from=start and start.learner_state), Told(dies_at))
        assert (newest(tmp_path).step if found else newest(tmp_path)) == found
        assert not spec.out.exists()
    told = Told()
    last = run_sft(replace(spec, resume_from=newest(tmp_path).learner_state), told)
    assert told.steps == whole.steps
    assert last == whole.steps[-1]
    assert weights(spec) == weights(replace(spec, out=tmp_path / "whole"))
    # Once more, from the last step's own: nothing is left to do but the model.
    assert newest(tmp_path).step == STEPS
    again = Told()
    run_sft(replace(spec, out=tmp_path / "again", resume_from=newest(tmp_path).learner_state), again)
    assert again.steps == whole.steps
    assert weights(replace(spec, out=tmp_path / "again")) == weights(spec)


def test_a_stage_that_is_stopped_keeps_its_last_step_and_writes_no_model(spec, tmp_path):
    """Whatever checkpoint.every says; what is left to do ends in the weights of the whole."""
    whole = replace(
        spec,
        out=tmp_path / "whole",
        save_checkpoint=CheckpointWriter(tmp_path / "others", "another", keep_last=9, data="these"),
    )
    run_sft(whole, Told())
    never = replace(spec, checkpoint=CheckpointKeys(every=0))
    told = Told()
    run_sft(never, told, lambda: len(told.steps) >= 2)  # asked before the third is told
    assert [figures["step"] for figures in told.steps] == [1, 2, 3]
    assert newest(tmp_path).step == 3
    assert not spec.out.exists()
    run_sft(replace(never, resume_from=newest(tmp_path).learner_state), Told())
    assert weights(spec) == weights(whole)


def test_a_stage_whose_weights_are_no_numbers_any_more_ends_with_its_last_checkpoint_whole(spec, tiny_model, tmp_path):
    stage = spec.stage.model_copy(update={"learning_rate": 1.0, "warmup_steps": 0, "betas": (0.0, 0.0)})
    model = load_model(str(tiny_model))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3e12)  # a forward pass overflows
    save_model(model, load_tokenizer(str(tiny_model)), tmp_path / "huge")
    told = Told()
    with pytest.raises(RlkitError, match=r"step 1 of the sft stage had loss nan and gradient norm nan"):
        run_sft(replace(spec, model_path=str(tmp_path / "huge"), stage=stage, checkpoint=CheckpointKeys(every=1)), told)
    assert math.isnan(told.steps[0]["learner/loss"])
    assert newest(tmp_path) is None
    assert not spec.out.exists()


def test_a_checkpoint_that_is_damaged_is_found_and_the_one_before_is_taken(spec, tmp_path):
    run_sft(spec, Told())
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-000004", "step-000005"]
    weights_file = tmp_path / "checkpoints" / "step-000005" / "learner" / "optimizer.pt"
    weights_file.write_bytes(weights_file.read_bytes()[:-1])
    found = find_checkpoint(tmp_path / "checkpoints", "this run")
    assert found.checkpoint.step == 4
    assert "learner/optimizer.pt" in found.damaged[0]


def test_a_save_that_fails_is_told_and_the_stage_goes_on(spec, tmp_path):
    def full(step, write):
        raise CheckpointError(f"checkpoint {step} cannot be written: no space left")

    told = Told()
    run_sft(replace(spec, save_checkpoint=full), told)
    assert [figures["step"] for figures in told.steps] == [1, 2, 3, 4, 5]
    assert told.events == [
        ("checkpoint_failed", f"checkpoint {step} cannot be written: no space left; the stage continues")
        for step in (2, 4, 5)
    ]
    assert spec.out.exists()


def test_minutes_and_steps_say_when_to_save(spec, tmp_path):
    for keys, saved in (
        ({"every": 0}, [5]),
        ({"every": 0, "every_minutes": 1e-9}, [1, 2, 3, 4, 5]),
        ({"every": 3}, [3, 5]),
    ):
        told = Told()
        run_sft(replace(spec, checkpoint=CheckpointKeys(**keys)), told)
        assert [text for kind, text in told.events if kind == "checkpoint"] == [f"step {step}" for step in saved]
        assert not [*spec.work_dir.glob("checkpoint-*")]


def test_a_stage_does_not_go_on_with_other_demonstrations(spec, tmp_path):
    recipe = Recipe.model_validate(
        {
            "model": {"path": spec.model_path},
            "data": {"path": "builtin:quickstart"},
            "stages": [spec.stage.model_dump()],
        }
    )
    stage = SftRun(
        name="stage-0-sft",
        keys=spec.stage,
        recipe=recipe,
        run_dir=tmp_path,
        run_id="this run",
        model_path=spec.model_path,
        demonstrations=spec.demonstrations,
        data="these",
        threads=1,
        log=RunLog(tmp_path),
        report=Report(),
        on_stop=lambda: None,
    )
    first = stage._resume(spec.out)
    first.save_checkpoint(2, lambda folder: folder.mkdir())
    assert stage._resume(spec.out).resume_from is not None
    stage.data = "others"
    with pytest.raises(DataError, match="stage-0-sft was started with other demonstrations: the data has changed"):
        stage._resume(spec.out)
    stage.data_may_differ = True
    assert stage._resume(spec.out).resume_from is not None
