"""The whole update as the papers write it: padded, one process, float64, plain loops. Shares no code with rlkit."""

from dataclasses import dataclass

import torch


@dataclass
class Reference:
    """What one update of a stage should compute."""

    loss: torch.Tensor
    margin: float
    """Smallest distance of a ratio or weight from a bound: on either side of one float32 and float64 rightly differ."""
    scale: float
    """Sum of the terms' absolute values: the loss itself may be a small difference of large ones."""
    critic_loss: torch.Tensor | None = None


def padded_hidden(body, samples):
    longest = max(len(s.prompt_ids) + len(s.token_ids) for s in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, s in enumerate(samples):
        row = torch.tensor([*s.prompt_ids, *s.token_ids])
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def sequence_logprobs(model, samples, temperature):
    """(log-prob, entropy) of each sample's completion tokens."""
    logits = model.get_output_embeddings()(padded_hidden(model.get_decoder(), samples)) / temperature
    found = []
    for i, s in enumerate(samples):
        start = len(s.prompt_ids)
        rows = torch.log_softmax(logits[i, start - 1 : start - 1 + len(s.token_ids)], -1)
        chosen = rows.gather(-1, torch.tensor(s.token_ids.tolist())[:, None])[:, 0]
        found.append((chosen, -(rows.exp() * rows).sum(-1)))
    return found


def kl_of(logprobs, reference, kind):
    d = logprobs - reference
    return {"k1": d, "k2": d**2 / 2, "k3": torch.exp(-d) + d - 1}[kind]


def plain_gae(rewards, values, gamma, lam):
    advantages = []
    for t in range(len(rewards)):
        total = 0.0
        for later in range(t, len(rewards)):
            following = values[later + 1] if later + 1 < len(values) else 0.0
            total += (gamma * lam) ** (later - t) * (rewards[later] + gamma * following - values[later])
        advantages.append(total)
    return advantages


def std(values):
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5


def token_rewards(samples, rewards, stage, old, reference):
    rows = []
    for i, sample in enumerate(samples):
        row = [0.0] * len(sample.token_ids)
        if reference is not None and stage.kl_in == "reward":
            row = (-stage.kl_coef * kl_of(old[i], reference[i], stage.kl)).tolist()
        row[-1] += rewards[i]
        rows.append(row)
    return rows


def compared(groups_of, rows, stage):
    """Advantage of each token of each sample, without a critic."""
    if stage.baseline == "batch":
        found = [[sum(row[t:]) for t in range(len(row))] for row in rows]
        flat = [a for row in found for a in row]
        mean = sum(flat) / len(flat)
        scale = std(flat) + 1e-4 if stage.normalize == "batch" else 1.0
        return [[(a - mean) / scale for a in row] for row in found]
    totals = [sum(row) for row in rows]
    advantages = []
    for i, row in enumerate(rows):
        mates = [totals[j] for j in range(len(rows)) if groups_of[j] == groups_of[i]]
        others = [totals[j] for j in range(len(rows)) if groups_of[j] == groups_of[i] and j != i]
        if max(mates) - min(mates) <= 1e-6:
            value = 0.0
        elif stage.baseline == "leave_one_out":
            value = totals[i] - sum(others) / len(others)
        else:
            value = totals[i] - sum(mates) / len(mates)
        if stage.normalize == "group":
            value /= std(mates) + 1e-4
        advantages.append([value] * len(row))
    if stage.normalize == "batch":
        scale = std([a for row in advantages for a in row]) + 1e-4
        advantages = [[a / scale for a in row] for row in advantages]
    return advantages


def sequence_values(critic, samples):
    """The critic's value before each completion token of each sample."""
    hidden = padded_hidden(critic.base_model, samples)
    return [
        critic.score(hidden[i, len(s.prompt_ids) - 1 : len(s.prompt_ids) - 1 + len(s.token_ids)])[:, 0]
        for i, s in enumerate(samples)
    ]


def plain_value_errors(values, old_values, targets, clip):
    """(squared errors, smallest distance of one from where the clip begins to decide)."""
    errors = (values - targets) ** 2
    if clip is None:
        return errors, 1.0
    held = old_values + (values - old_values).clamp(-clip, clip)
    others = (held - targets) ** 2
    outside = held.detach() != values.detach()
    near = ((values - old_values).abs() - clip).abs().detach()
    tie = (errors - others).abs().detach()[outside]
    return torch.maximum(errors, others), min(float(near.min()), float(tie.min()) if len(tie) else 1.0)


def reference_update(
    model, groups, stage, *, temperature, max_tokens, reference_model=None, critic=None, before=None, part=None
):
    """Loss of an update, as a graph over `model` (and `critic`) in float64.

    `before`: policy and critic as the step began, where earlier updates have moved them; `part`: numbers of the groups
    that this update learns from, by default all.
    """
    dynamic = getattr(stage, "dynamic_sampling", False)
    kept = [
        (g, s, r)
        for g, group in enumerate(groups)
        for s, r in zip(group.samples, group.rewards, strict=True)
        if r is not None and (not dynamic or max(group.rewards) - min(group.rewards) > 1e-6)
    ]
    groups_of, samples, rewards = [k[0] for k in kept], [k[1] for k in kept], [k[2] for k in kept]
    now = sequence_logprobs(model, samples, temperature)
    sampler = [torch.tensor(s.logprobs, dtype=torch.float64) for s in samples]
    began_policy, began_critic = before or (model, critic)
    with torch.no_grad():
        old = sampler
        if stage.old_logprobs == "learner":
            old = [x for x, _ in sequence_logprobs(began_policy, samples, temperature)]
    reference = None
    if reference_model is not None:
        with torch.no_grad():
            reference = [x for x, _ in sequence_logprobs(reference_model, samples, temperature)]
    rows = token_rewards(samples, rewards, stage, old, reference)
    critic_rows = None
    if critic is None:
        advantages = compared(groups_of, rows, stage)
    else:
        critic_rows = sequence_values(critic, samples)
        with torch.no_grad():
            old_rows = sequence_values(began_critic, samples)
        values = [row.tolist() for row in old_rows]
        advantages = [plain_gae(r, v, stage.gamma, stage.gae_lambda) for r, v in zip(rows, values, strict=True)]
        returns = [[a + v for a, v in zip(x, y, strict=True)] for x, y in zip(advantages, values, strict=True)]
        if stage.normalize == "batch":
            flat = [a for row in advantages for a in row]
            mean, scale = sum(flat) / len(flat), std(flat) + 1e-4
            advantages = [[(a - mean) / scale for a in row] for row in advantages]

    in_loss = [
        i
        for i, s in enumerate(samples)
        if not (stage.mask_truncated and s.finish_reason == "length") and (part is None or groups_of[i] in part)
    ]
    num_tokens = sum(len(samples[i].token_ids) for i in in_loss)
    share = {
        "token": lambda n: 1 / num_tokens,
        "sequence": lambda n: 1 / (len(in_loss) * n),
        "constant": lambda n: 1 / (len(in_loss) * max_tokens),
    }[stage.loss_mean]
    total, scale, critic_total, margin = 0.0, 0.0, 0.0, 1.0
    for i in in_loss:
        logprobs, entropy = now[i]
        advantage = torch.tensor(advantages[i], dtype=torch.float64)
        ratio = torch.exp(logprobs - old[i])
        if stage.ratio_level == "sequence":
            ratio = torch.exp((logprobs - old[i]).mean()).expand(len(logprobs))
        low, high = 1 - stage.clip_low, 1 + stage.clip_high
        margin = min(margin, float((ratio - low).abs().min().detach()), float((ratio - high).abs().min().detach()))
        if stage.objective == "cispo":
            losses = -ratio.detach().clamp(low, high) * advantage * logprobs
        else:
            losses = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
            if stage.dual_clip is not None:
                bound = -stage.dual_clip * advantage
                losses = torch.where(advantage < 0, torch.minimum(losses, bound), losses)
                margin = min(margin, float((ratio - stage.dual_clip).abs().min().detach()))
        if stage.correction != "none":
            gap = (old[i] - sampler[i]).detach()
            weight = torch.exp(gap.sum()).expand(len(gap)) if stage.correction_level == "sequence" else torch.exp(gap)
            margin = min(margin, float((weight - stage.correction_max).abs().min()))
            if stage.correction == "truncate":
                weight = weight.clamp(max=stage.correction_max)
            else:
                margin = min(margin, float((weight - stage.correction_min).abs().min()))
                inside = (weight >= stage.correction_min) & (weight <= stage.correction_max)
                weight = weight * inside
            losses = losses * weight
        if reference is not None and stage.kl_in == "loss":
            kl = kl_of(logprobs, reference[i], stage.kl)
            losses = losses + stage.kl_coef * (kl * ratio if stage.kl_weighted else kl)
        losses = losses - stage.entropy_coef * entropy
        total = total + (losses * share(len(losses))).sum()
        scale += float(losses.detach().abs().sum()) * share(len(losses))
        if critic_rows is not None:
            target = torch.tensor(returns[i], dtype=torch.float64)
            errors, gap = plain_value_errors(critic_rows[i], old_rows[i], target, stage.critic.value_clip)
            margin = min(margin, gap)
            critic_total = critic_total + (errors / 2 * share(len(losses))).sum()
    return Reference(total, margin, scale, critic_total if critic is not None else None)
