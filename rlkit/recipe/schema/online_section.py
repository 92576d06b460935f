"""The keys of stages that learn from the rewards of their own samples: `grpo` and `ppo`."""

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
    """What every stage that learns from rewards shares: sampling, ratio, clip, KL, corrections."""

    steps: int = Field(ge=1)
    """Rounds of sample, score, update, sync."""
    prompts_per_step: int = Field(32, ge=1)
    """Prompts a step."""
    samples_per_prompt: int = Field(8, ge=1)
    """Samples a prompt: the group that the baseline is taken over."""
    updates_per_step: int = Field(1, ge=1)
    """Optimizer updates in one pass over a step; the step's prompts are split into that many parts."""
    passes_per_step: int = Field(1, ge=1)
    """Passes over a step's samples."""
    objective: str = "clip"
    """clip: PPO's clipped surrogate (arXiv:1707.06347); cispo: the clipped ratio, held fixed, weighs the
    log-probability (arXiv:2506.13585), so that no token loses its gradient; a loss of your own: module:function, or
    ./file.py:function beside the recipe."""
    ratio_level: Literal["token", "sequence"] = "token"
    """Importance ratio of each token, or one for a whole sequence, the mean over its tokens (GSPO,
    arXiv:2507.18071)."""
    clip_low: float = Field(0.2, ge=0, le=1)
    """The importance ratio is clipped from below at 1 - clip_low."""
    clip_high: float = Field(0.2, ge=0)
    """The importance ratio is clipped from above at 1 + clip_high."""
    dual_clip: float | None = Field(None, gt=1)
    """With a negative advantage a token's loss is at most this times it (arXiv:1912.09729); objective clip only."""
    loss_mean: Literal["token", "sequence", "constant"] = "token"
    """token: mean over all tokens (DAPO, arXiv:2503.14476); sequence: mean over sequences of their means (GRPO as
    published); constant: sum over tokens / (sequences x rollout.max_tokens) (Dr. GRPO, arXiv:2503.20783)."""
    kl_coef: float = Field(0.0, ge=0)
    """Weight of the KL to the reference, the stage's start model; 0: no reference is kept."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL (joschu.net/blog/kl-approx.html). In the loss k1's gradient does not depend on the reference,
    so k2 or k3 belong there; in the reward k1 is the unbiased one."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL counts: added to the loss, or taken off the reward."""
    kl_weighted: bool = False
    """Multiply the KL in the loss by the importance ratio, so that its gradient is the KL's own (DeepSeek-V3.2,
    arXiv:2512.02556)."""
    reference_every: int | None = Field(None, ge=1)
    """Steps after which the reference becomes a copy of the current weights; by default it stays."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus: the loss is less this times the policy's entropy."""
    old_logprobs: Literal["sampler", "learner"] = "sampler"
    """The policy that the importance ratio is against: the sampler's own log-probabilities, or the learner's, worked
    out anew before the step's first update."""
    correction: Literal["none", "truncate", "mask"] = "none"
    """What is done about the sampler's log-probabilities differing from the learner's, or being of older weights: each
    loss is weighed by learner / sampler probability, at most correction_max (truncate) or left out where that is not
    between correction_min and correction_max (mask). Needs old_logprobs: learner."""
    correction_level: Literal["token", "sequence"] = "token"
    """Learner / sampler probability of each token, or of the whole sequence."""
    correction_max: float = Field(2.0, ge=1)
    """Upper bound of the correction."""
    correction_min: float = Field(0.5, ge=0, le=1)
    """Lower bound of correction: mask."""
    mask_truncated: bool = False
    """Replies cut at rollout.max_tokens count for the baseline and are not learned from (DAPO's overlong filtering)."""

    @property
    def num_updates(self) -> int:
        """Optimizer updates of the whole stage, where every one takes place."""
        return self.steps * self.updates_per_step * self.passes_per_step

    @property
    def policy_updates(self) -> int:
        """Those of them that are the policy's too."""
        return self.num_updates

    @property
    def sampling_rounds(self) -> int:
        """Most rounds of sampling in one step."""
        return 1

    @property
    def has_critic(self) -> bool:
        """Whether a value model learns beside the policy."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether a reference model is kept."""
        return self.kl_coef > 0

    @field_validator("objective")
    @classmethod
    def _names_a_loss(cls, name: str) -> str:
        source, _, function = name.rpartition(":")
        if name not in OBJECTIVES and not (source and function.isidentifier()):
            known = (*OBJECTIVES, "module:function", "./file.py:function")
            raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})
        return name

    @model_validator(mode="after")
    def _updates_divide(self) -> Self:
        if self.updates_per_step > self.prompts_per_step:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} splits a step's prompts into that many parts, and "
                f"prompts_per_step={self.prompts_per_step} is less: lower the one, or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        if self.correction != "none" and self.old_logprobs == "sampler":
            raise ValueError(
                f"correction={self.correction} weighs by learner / sampler probability: set old_logprobs to learner "
                "(against the sampler the ratio itself holds the difference)"
            )
        if self.objective == "cispo" and self.dual_clip is not None:
            raise ValueError(
                f"dual_clip={self.dual_clip} bounds the clipped surrogate, and objective=cispo has none: leave "
                "dual_clip out, or set objective to clip"
            )
        if self.reference_every is not None and not self.needs_reference:
            raise ValueError(
                f"reference_every={self.reference_every} refreshes a reference that is not kept with kl_coef=0: set "
                "kl_coef above 0, or leave reference_every out"
            )
        if self.kl_weighted and not (self.needs_reference and self.kl_in == "loss"):
            raise ValueError(
                f"kl_weighted weighs a KL in the loss, and there is none with kl_coef={self.kl_coef:g} and "
                f"kl_in={self.kl_in}: set kl_coef above 0 and kl_in to loss, or leave kl_weighted out"
            )
        return self

    def _is_set(self, key: str) -> bool:
        """Whether a key has another value than its default; a resolved recipe gives every key."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    @model_validator(mode="after")
    def _bounds_bind(self) -> Self:
        bound = ["correction_min"] if self.correction == "truncate" else []
        if self.correction == "none":
            bound = ["correction_level", "correction_max", "correction_min"]
        for key in bound:
            if self._is_set(key):
                wanted = "mask" if key == "correction_min" else "truncate or mask"
                raise ValueError(
                    f"{key}={getattr(self, key)} changes nothing with correction={self.correction}: set correction to "
                    f"{wanted}, or leave {key} out"
                )
        return self


class GrpoKeys(OnlineKeys):
    """Advantages from the step's other samples, without a critic: GRPO (DeepSeekMath, arXiv:2402.03300) and its kin."""

    kind: Literal["grpo"]
    """Group relative policy optimisation."""
    preset: (
        Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++", "reinforce++_baseline"] | None
    ) = None
    """Takes a paper's settings for every key of the stage that is not given (rlkit/recipe/schema/presets.py)."""
    baseline: Literal["group", "leave_one_out", "batch"] = "group"
    """What a sample's reward is compared with: its group's mean, the mean of the others in its group (RLOO,
    arXiv:2402.14740), or the mean of the whole step (REINFORCE++, arXiv:2501.03262)."""
    normalize: Literal["group", "batch", "none"] = "group"
    """Divide the centred rewards by the standard deviation of their group (GRPO), of the whole step (REINFORCE++), or
    not at all (Dr. GRPO, arXiv:2503.20783)."""
    dynamic_sampling: bool = False
    """Groups whose rewards are all equal are replaced by groups of further prompts, until the step is full (DAPO)."""
    dynamic_sampling_rounds: int = Field(10, ge=1)
    """Most rounds of sampling in one step, the first included; after the last one the step is as full as it is."""

    @property
    def sampling_rounds(self) -> int:
        """Most rounds of sampling in one step."""
        return self.dynamic_sampling_rounds if self.dynamic_sampling else 1

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("preset"), str):
            return raw
        return {**GRPO_PRESETS.get(raw["preset"], {}), **raw}

    @model_validator(mode="after")
    def _rounds_take_place(self) -> Self:
        if not self.dynamic_sampling and self._is_set("dynamic_sampling_rounds"):
            raise ValueError(
                f"dynamic_sampling_rounds={self.dynamic_sampling_rounds} changes nothing with dynamic_sampling=false: "
                "set dynamic_sampling to true, or leave dynamic_sampling_rounds out"
            )
        return self

    @model_validator(mode="after")
    def _baseline_fits(self) -> Self:
        if self.samples_per_prompt == 1 and (self.baseline != "batch" or self.normalize == "group"):
            raise ValueError(
                f"samples_per_prompt=1 leaves a group nothing to compare with: raise it, or set baseline to batch and "
                f"normalize to batch or none (here baseline={self.baseline} and normalize={self.normalize})"
            )
        if self.baseline == "batch" and self.normalize == "group":
            raise ValueError(
                "baseline=batch goes with normalize=batch or none, here normalize=group: a group's spread is around "
                "its own mean, not around the step's"
            )
        if self.baseline == "batch" and self.dynamic_sampling:
            raise ValueError(
                "dynamic_sampling=true replaces groups whose rewards are all equal, and with baseline=batch such "
                "groups are learned from too: set dynamic_sampling to false, or baseline to group"
            )
        return self


class CriticKeys(OptimizerKeys):
    """PPO's value model, a network and an optimizer of its own."""

    path: str | None = None
    """Folder or Hub name of a reward model (a sequence classifier with one label) to start from; by default the stage's
    start model with a value head of zeros."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate of the critic."""
    value_clip: float | None = Field(0.2, gt=0)
    """Values move at most this far from the ones before the step's updates (arXiv:1707.06347's released code); null:
    unclipped."""
    warmup_only: int = Field(0, ge=0)
    """First steps of the stage in which only the critic learns; the policy's schedule begins after them."""


class PpoKeys(OnlineKeys):
    """Proximal policy optimisation with a critic (arXiv:1707.06347)."""

    kind: Literal["ppo"]
    """Proximal policy optimisation."""
    samples_per_prompt: int = Field(1, ge=1)
    """Samples a prompt."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount of a later token's reward."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Generalised advantage estimation (arXiv:1506.02438): 0 trusts the critic, 1 the rewards."""
    normalize: Literal["batch", "none"] = "batch"
    """Bring the step's advantages to mean 0 and deviation 1, or leave them."""
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
        """Those that are the policy's too, after the critic's own."""
        return self.num_updates - self.critic.warmup_only * self.updates_per_step * self.passes_per_step

    @model_validator(mode="after")
    def _policy_learns(self) -> Self:
        if self.critic.warmup_only >= self.steps:
            raise ValueError(
                f"critic.warmup_only={self.critic.warmup_only} leaves the policy none of the stage's "
                f"steps={self.steps}: lower the one, or raise the other"
            )
        return self
