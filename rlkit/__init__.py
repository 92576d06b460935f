"""rlkit: reinforcement-learning fine-tuning of language models on answers that can be checked.

    recipe.yaml -> Recipe -> Task -> Sample -> Group -> ScoredGroup -> TrainBatch -> weights vN -> checkpoint N
       recipe/      data/    rollout/   scoring/ + rewards/    algorithm/    learner/   stages/online/   keep/

`rlkit.stages.online.train` is the training loop; docs/architecture.md describes each folder. This module exports what
reward plugins need (the records, the judges and `SequenceModel`) and what a loss of your own needs; all but the records
are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from rlkit.records import Group, Sample, Score, ScoredGroup, Task, Verdict

if TYPE_CHECKING:
    from rlkit.algorithm.loss import PolicyLoss
    from rlkit.algorithm.objective import ClipRange, PolicyTokens
    from rlkit.algorithm.step_arrays import TrainBatch
    from rlkit.models.sequence_model import SequenceModel
    from rlkit.verify.code.code_judge import judge_code
    from rlkit.verify.extract import extract_answer, find_boxes, split_reply
    from rlkit.verify.extract_code import extract_code, find_code_blocks
    from rlkit.verify.math.math_judge import MathJudge, judge_math
    from rlkit.verify.plain import judge_choice, judge_exact, judge_numeric
    from rlkit.verify.steps.relations import Relation, find_relations

_LOADED_LATE = {
    "ClipRange": "rlkit.algorithm.objective",
    "PolicyLoss": "rlkit.algorithm.loss",
    "PolicyTokens": "rlkit.algorithm.objective",
    "TrainBatch": "rlkit.algorithm.step_arrays",
    "SequenceModel": "rlkit.models.sequence_model",
    "Relation": "rlkit.verify.steps.relations",
    "find_relations": "rlkit.verify.steps.relations",
    "MathJudge": "rlkit.verify.math.math_judge",
    "judge_math": "rlkit.verify.math.math_judge",
    "judge_choice": "rlkit.verify.plain",
    "judge_exact": "rlkit.verify.plain",
    "judge_numeric": "rlkit.verify.plain",
    "judge_code": "rlkit.verify.code.code_judge",
    "extract_answer": "rlkit.verify.extract",
    "extract_code": "rlkit.verify.extract_code",
    "find_boxes": "rlkit.verify.extract",
    "find_code_blocks": "rlkit.verify.extract_code",
    "split_reply": "rlkit.verify.extract",
}

__all__ = [
    "ClipRange",
    "Group",
    "MathJudge",
    "PolicyLoss",
    "PolicyTokens",
    "Relation",
    "Sample",
    "Score",
    "ScoredGroup",
    "SequenceModel",
    "Task",
    "TrainBatch",
    "Verdict",
    "extract_answer",
    "extract_code",
    "find_boxes",
    "find_code_blocks",
    "find_relations",
    "judge_choice",
    "judge_code",
    "judge_exact",
    "judge_math",
    "judge_numeric",
    "split_reply",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _LOADED_LATE:
        raise AttributeError(f"module 'rlkit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LOADED_LATE[name]), name)
