"""Presets of the grpo stage: the settings of published algorithms. Keys that a recipe gives override them."""

from typing import Any

GRPO_PRESETS: dict[str, dict[str, Any]] = {
    # DeepSeekMath, arXiv:2402.03300, 4.1.2 and 4.2: mean over sequences of their means, KL in the loss at 0.04.
    "grpo": {"loss_mean": "sequence", "kl_coef": 0.04},
    # arXiv:2503.20783: dividing by a constant avoids a length bias; not dividing by the std avoids a difficulty bias.
    "dr_grpo": {"normalize": "none", "loss_mean": "constant"},
    # arXiv:2503.14476: clip-higher, token mean, dynamic sampling. Its overlong reward shaping is the reward part
    # `soft_overlong`, listed in reward.combine.penalties.
    "dapo": {"loss_mean": "token", "clip_low": 0.2, "clip_high": 0.28, "dynamic_sampling": True},
    # arXiv:2507.18071, 5.1: one ratio per sequence, clipped at 3e-4 and 4e-4.
    "gspo": {"ratio_level": "sequence", "loss_mean": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    # MiniMax-M1, arXiv:2506.13585, eq. 4: no lower bound; the upper one is 5 in ScaleRL (arXiv:2510.13786).
    "cispo": {"objective": "cispo", "loss_mean": "token", "clip_low": 1.0, "clip_high": 4.0},
    # arXiv:2402.14740: leave-one-out baseline, KL in the reward, log-probability of the whole sequence.
    "rloo": {
        "baseline": "leave_one_out",
        "normalize": "none",
        "loss_mean": "constant",
        "kl_coef": 0.03,
        "kl": "k1",
        "kl_in": "reward",
    },
    # arXiv:2501.03262: the mean of the whole step as baseline, KL of each token in the reward.
    "reinforce++": {"baseline": "batch", "normalize": "batch", "kl_coef": 0.01, "kl": "k1", "kl_in": "reward"},
    # The same paper's variant for several samples per prompt: group mean, std of the step, KL (k2) in the loss.
    "reinforce++_baseline": {"normalize": "batch", "kl_coef": 0.01, "kl": "k2"},
}
