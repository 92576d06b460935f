"""The keys of the online RL stages, `grpo` and `ppo`."""

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticKnownError

from rlkit.recipe.schema.optimizer_section import OptimizerKeys
from rlkit.recipe.schema.presets import GRPO_PRESETS
from rlkit.recipe.schema.stage_kinds import StageKeys

OBJECTIVES = ("clip", "cispo")
"""The built-in losses (`rlkit.algorithm.objective.POLICY_LOSSES`; a test compares the two)."""


class OnlineKeys(StageKeys, OptimizerKeys):
    """The keys that all online stages share: sampling, importance ratio, clipping, KL, corrections."""

    steps: int = Field(ge=1)
    """Training steps; each samples, scores, updates the weights and syncs them to the engines."""
    prompts_per_step: int = Field(32, ge=1)
    """Prompts per step."""
    samples_per_prompt: int = Field(8, ge=1)
    """Samples per prompt; together they are the group that the baseline is computed from."""
    updates_per_step: int = Field(1, ge=1)
    """Optimizer updates in one pass over a step; the step's prompts are split into that many minibatches."""
    passes_per_step: int = Field(1, ge=1)
    """Passes over a step's samples."""
    objective: str = "clip"
    """clip: PPO's clipped surrogate objective (arXiv:1707.06347). cispo: the log-probability times the clipped ratio
    without gradient (arXiv:2506.13585), so that every token keeps its gradient. Or a loss of your own:
    module:function, or ./file.py:function beside the recipe."""
    ratio_level: Literal["token", "sequence"] = "token"
    """Importance ratio of each token, or one for the whole sequence: the geometric mean over its tokens (GSPO,
    arXiv:2507.18071)."""
    clip_low: float = Field(0.2, ge=0, le=1)
    """The importance ratio is clipped from below at 1 - clip_low."""
    clip_high: float = Field(0.2, ge=0)
    """The importance ratio is clipped from above at 1 + clip_high."""
    dual_clip: float | None = Field(None, gt=1)
    """Upper bound of a token's loss where its advantage is negative: dual_clip x |advantage| (arXiv:1912.09729). For
    objective: clip only."""
    loss_mean: Literal["token", "sequence", "constant"] = "token"
    """token: mean over all tokens (DAPO, arXiv:2503.14476); sequence: mean over sequences of their means (GRPO as
    published); constant: sum over tokens / (sequences x rollout.max_tokens) (Dr. GRPO, arXiv:2503.20783)."""
    kl_coef: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the reference, which is the stage's initial model; 0: no reference is loaded."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL divergence (joschu.net/blog/kl-approx.html). In the loss use k2 or k3, because the gradient
    of k1 does not depend on the reference; in the reward k1 is the unbiased estimator."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Add the KL divergence to the loss, or subtract it from the reward."""
    kl_weighted: bool = False
    """Multiply the KL estimate in the loss by the importance ratio, which makes its gradient that of the KL divergence
    (DeepSeek-V3.2, arXiv:2512.02556)."""
    reference_every: int | None = Field(None, ge=1)
    """Replace the reference by a copy of the current weights every this many steps; by default never."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus, which is subtracted from the loss."""
    old_logprobs: Literal["sampler", "learner"] = "sampler"
    """Denominator of the importance ratio: the sampler's log-probabilities, or the learner's, computed before the
    step's first update."""
    correction: Literal["none", "truncate", "mask"] = "none"
    """Importance-sampling correction for samples whose log-probabilities differ between sampler and learner, or that
    older weights drew. truncate: multiply each loss by the learner / sampler probability, at most correction_max. mask:
    the same, but drop losses whose factor is not between correction_min and correction_max. Needs old_logprobs:
    learner."""
    correction_level: Literal["token", "sequence"] = "token"
    """Use the learner / sampler probability of each token, or of the whole sequence."""
    correction_max: float = Field(2.0, ge=1)
    """Upper bound of the correction factor."""
    correction_min: float = Field(0.5, ge=0, le=1)
    """Lower bound of the correction factor, for correction: mask."""
    mask_truncated: bool = False
    """Do not train on replies cut at rollout.max_tokens; they still count for the baseline (DAPO's overlong
    filtering)."""

    @property
    def num_updates(self) -> int:
        """Optimizer updates of the whole stage, if no step is skipped."""
        return self.steps * self.updates_per_step * self.passes_per_step

    @property
    def policy_updates(self) -> int:
        """Optimizer updates of the policy in the whole stage."""
        return self.num_updates

    @property
    def sampling_rounds(self) -> int:
        """Maximum number of sampling rounds in one step."""
        return 1

    @property
    def has_critic(self) -> bool:
        """Whether the stage also trains a value model."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether the stage needs a reference model."""
        return self.kl_coef > 0

    @field_validator("objective")
    @classmethod
    def _check_loss_name(cls, name: str) -> str:
        source, _, function = name.rpartition(":")
        if name not in OBJECTIVES and not (source and function.isidentifier()):
            known = (*OBJECTIVES, "module:function", "./file.py:function")
            raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})
        return name

    @model_validator(mode="after")
    def _check_updates(self) -> Self:
        if self.updates_per_step > self.prompts_per_step:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} is more than prompts_per_step={self.prompts_per_step}, and "
                "each update needs at least one prompt: lower updates_per_step, or raise prompts_per_step"
            )
        return self

    @model_validator(mode="after")
    def _check_loss_terms(self) -> Self:
        if self.correction != "none" and self.old_logprobs == "sampler":
            raise ValueError(
                f"correction={self.correction} needs the learner's log-probabilities: set old_logprobs to learner "
                "(with old_logprobs=sampler the importance ratio already contains the correction)"
            )
        if self.objective == "cispo" and self.dual_clip is not None:
            raise ValueError(
                f"dual_clip={self.dual_clip} bounds the clipped surrogate, which objective=cispo does not use: leave "
                "dual_clip out, or set objective to clip"
            )
        if self.reference_every is not None and not self.needs_reference:
            raise ValueError(
                f"reference_every={self.reference_every} replaces the reference, but with kl_coef=0 there is none: set "
                "kl_coef above 0, or leave reference_every out"
            )
        if self.kl_weighted and not (self.needs_reference and self.kl_in == "loss"):
            raise ValueError(
                f"kl_weighted applies to a KL in the loss, and there is none with kl_coef={self.kl_coef:g} and "
                f"kl_in={self.kl_in}: set kl_coef above 0 and kl_in to loss, or leave kl_weighted out"
            )
        return self

    def _is_set(self, key: str) -> bool:
        """Whether a key's value differs from its default; a resolved recipe contains every key."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    @model_validator(mode="after")
    def _check_correction(self) -> Self:
        unused = ["correction_min"] if self.correction == "truncate" else []
        if self.correction == "none":
            unused = ["correction_level", "correction_max", "correction_min"]
        for key in unused:
            if self._is_set(key):
                wanted = "mask" if key == "correction_min" else "truncate or mask"
                raise ValueError(
                    f"{key}={getattr(self, key)} has no effect with correction={self.correction}: set correction to "
                    f"{wanted}, or leave {key} out"
                )
        return self


class GrpoKeys(OnlineKeys):
    """GRPO (DeepSeekMath, arXiv:2402.03300) and related algorithms: advantages from the step's rewards, no critic."""

    kind: Literal["grpo"]
    """Group relative policy optimisation."""
    preset: (
        Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++", "reinforce++_baseline"] | None
    ) = None
    """Published settings for all keys of the stage that the recipe does not give (rlkit/recipe/schema/presets.py)."""
    baseline: Literal["group", "leave_one_out", "batch"] = "group"
    """Baseline that is subtracted from a sample's reward: the mean of its group, the mean of the other samples in its
    group (RLOO, arXiv:2402.14740), or the mean of the whole step (REINFORCE++, arXiv:2501.03262)."""
    normalize: Literal["group", "batch", "none"] = "group"
    """Divide the centred rewards by the standard deviation of their group (GRPO), of the whole step (REINFORCE++), or
    not at all (Dr. GRPO, arXiv:2503.20783)."""
    dynamic_sampling: bool = False
    """Replace groups whose rewards are all equal by groups of further prompts, until the step is full (DAPO)."""
    dynamic_sampling_rounds: int = Field(10, ge=1)
    """Maximum number of sampling rounds in one step, including the first; after the last the step may have fewer
    groups."""

    @property
    def sampling_rounds(self) -> int:
        """Maximum number of sampling rounds in one step."""
        return self.dynamic_sampling_rounds if self.dynamic_sampling else 1

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("preset"), str):
            return raw
        return {**GRPO_PRESETS.get(raw["preset"], {}), **raw}

    @model_validator(mode="after")
    def _check_dynamic_sampling(self) -> Self:
        if not self.dynamic_sampling and self._is_set("dynamic_sampling_rounds"):
            raise ValueError(
                f"dynamic_sampling_rounds={self.dynamic_sampling_rounds} has no effect with dynamic_sampling=false: "
                "set dynamic_sampling to true, or leave dynamic_sampling_rounds out"
            )
        return self

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if self.samples_per_prompt == 1 and (self.baseline != "batch" or self.normalize == "group"):
            raise ValueError(
                "samples_per_prompt=1 is too few to compare the samples of a group: raise it, or set baseline to batch "
                f"and normalize to batch or none (here baseline={self.baseline} and normalize={self.normalize})"
            )
        if self.baseline == "batch" and self.normalize == "group":
            raise ValueError(
                "baseline=batch needs normalize=batch or none, here normalize=group: a group's standard deviation is "
                "around its own mean, not around the step's"
            )
        if self.baseline == "batch" and self.dynamic_sampling:
            raise ValueError(
                "dynamic_sampling=true replaces groups whose rewards are all equal, but with baseline=batch such "
                "groups have a gradient too: set dynamic_sampling to false, or baseline to group"
            )
        return self


class CriticKeys(OptimizerKeys):
    """PPO's value model, which has its own network and optimizer."""

    path: str | None = None
    """Folder or Hub name of a reward model (a sequence classifier with one label) to start from; by default the stage's
    initial model with a value head of zeros."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate of the critic."""
    value_clip: float | None = Field(0.2, gt=0)
    """Maximum change of a value prediction from its value before the step's updates (as in the code of
    arXiv:1707.06347); null: not clipped."""
    warmup_only: int = Field(0, ge=0)
    """Number of steps at the start of the stage that train only the critic; the policy's schedule begins after them."""


class PpoKeys(OnlineKeys):
    """Proximal policy optimisation with a critic (arXiv:1707.06347)."""

    kind: Literal["ppo"]
    """Proximal policy optimisation."""
    samples_per_prompt: int = Field(1, ge=1)
    """Samples per prompt."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount factor per token."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation (arXiv:1506.02438): 0 relies on the critic, 1 on the rewards."""
    normalize: Literal["batch", "none"] = "batch"
    """Normalise the step's advantages to mean 0 and standard deviation 1, or not at all."""
    critic: CriticKeys = Field(default_factory=CriticKeys)
    """The value model."""

    @property
    def has_critic(self) -> bool:
        """See OnlineKeys."""
        return True

    def model_paths(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """See StageKeys."""
        if self.critic.path is not None:
            yield ("critic", "path"), self.critic.path

    @property
    def policy_updates(self) -> int:
        """Optimizer updates of the policy: those after critic.warmup_only."""
        return self.num_updates - self.critic.warmup_only * self.updates_per_step * self.passes_per_step

    @model_validator(mode="after")
    def _check_warmup(self) -> Self:
        if self.critic.warmup_only >= self.steps:
            raise ValueError(
                f"critic.warmup_only={self.critic.warmup_only} leaves none of the stage's steps={self.steps} for the "
                "policy: lower warmup_only, or raise steps"
            )
        return self
