"""Log-probabilities and entropy of drawn tokens, computed in chunks so that [tokens x vocabulary] is never in memory.

Axes: C completion tokens, K tokens of one chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 512
"""Rows of logits in memory at once; the backward pass computes them again."""


@dataclass(frozen=True)
class LogitForm:
    """How a model computes its logits from the output layer's result y: cap * tanh(scale * y / cap)."""

    scale: float = 1.0
    """Factor of the output layer's result (Cohere, Granite)."""
    cap: float | None = None
    """Bound of the logits (Gemma 2); None: unbounded."""


PLAIN = LogitForm()


def token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden_CH: Tensor,
    targets_C: Tensor,
    *,
    temperature: float,
    form: LogitForm = PLAIN,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, at the sampling temperature.

    Matrix products use the dtype of the head's weight (or autocast's), softmax and its statistics float32. The weight
    of a plain `nn.Linear` is read directly, so it must not be sharded. Any other head (with an adapter, or sharded) is
    called as a module, which needs a few more passes over the logits.

    Args:
        head: Output layer, [K, H] -> [K, V].
        hidden_CH: [C, H] last hidden states at the positions that predict the targets.
        targets_C: [C] drawn tokens.
        temperature: Logits are divided by it, as the sampler did.
        form: How the model computes its logits from the output layer's result.
        chunk_tokens: Rows of logits in memory at once.

    Returns:
        logprobs_C: [C] float32 with gradient, in nats.
        entropy_C: [C] float32 with gradient, in nats; the gradient costs nothing if no loss uses it.
    """
    if type(head) is nn.Linear:
        logprobs_C, entropy_C = _LinearLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden_CH, head.weight, head.bias, targets_C, temperature, form, chunk_tokens
        )
        return logprobs_C, entropy_C
    pairs = [
        checkpoint(_of_chunk, head, hidden_KH, targets_K, temperature, form, use_reentrant=False)
        for hidden_KH, targets_K in zip(
            torch.split(hidden_CH, chunk_tokens), torch.split(targets_C, chunk_tokens), strict=True
        )
    ]
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def _of_chunk(
    head: Callable[[Tensor], Tensor], hidden_KH: Tensor, targets_K: Tensor, temperature: float, form: LogitForm
) -> tuple[Tensor, Tensor]:
    """`token_logprobs` for one chunk and any head, with autograd's gradients."""
    logits_KV = head(hidden_KH).float() * form.scale
    if form.cap is not None:
        logits_KV = torch.tanh(logits_KV / form.cap) * form.cap
    logprobs_KV = torch.log_softmax(logits_KV / temperature, dim=-1)
    entropy_K = -(logprobs_KV.exp() * logprobs_KV).sum(-1)
    return logprobs_KV.gather(-1, targets_K[:, None]).squeeze(-1), entropy_K


class _LinearLogprobs(torch.autograd.Function):
    """`token_logprobs` for a linear head. The backward pass computes the logits again and works on them in place."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_CH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_C: Tensor,
        temperature: float,
        form: LogitForm,
        chunk_tokens: int,
    ) -> tuple[Tensor, Tensor]:
        device = hidden_CH.device.type
        autocast = torch.is_autocast_enabled(device)
        ctx.dtype = torch.get_autocast_dtype(device) if autocast else weight_VH.dtype
        ctx.temperature, ctx.form, ctx.chunk_tokens = temperature, form, chunk_tokens
        # An output that no loss uses then has the gradient None instead of zeros, which saves work.
        ctx.set_materialize_grads(False)
        head = _Head(weight_VH, bias_V, ctx.dtype, temperature, form, min(chunk_tokens, len(targets_C)))
        log_z_C = torch.empty(len(targets_C), dtype=torch.float32, device=hidden_CH.device)
        logprobs_C, entropy_C = torch.empty_like(log_z_C), torch.empty_like(log_z_C)
        for part in _chunks(len(targets_C), chunk_tokens):
            log_z_C[part], logprobs_C[part], entropy_C[part] = head.statistics(hidden_CH[part], targets_C[part])
        ctx.save_for_backward(hidden_CH, weight_VH, bias_V, targets_C, log_z_C, entropy_C)
        return logprobs_C, entropy_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden_CH, weight_VH, bias_V, targets_C, log_z_C, entropy_C = ctx.saved_tensors
        head = _Head(weight_VH, bias_V, ctx.dtype, ctx.temperature, ctx.form, min(ctx.chunk_tokens, len(targets_C)))
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        hidden_grad_CH = torch.empty_like(hidden_CH) if needs_hidden else None
        weight_grad = _Sum(weight_VH) if needs_weight else None
        bias_grad = _Sum(bias_V) if needs_bias else None
        # Skip gradients that are all 0 (an entropy weight of 0) to save their passes over [K, V].
        of_logprob_C, of_entropy_C = (None if g is None or not g.any() else g.float() for g in grads)
        for part in _chunks(len(targets_C), ctx.chunk_tokens):
            hidden_KH = hidden_CH[part].to(ctx.dtype)
            grad_KV = head.gradient(
                hidden_KH,
                targets_C[part],
                log_z_C[part],
                entropy_C[part],
                None if of_logprob_C is None else of_logprob_C[part],
                None if of_entropy_C is None else of_entropy_C[part],
            )
            if hidden_grad_CH is not None:
                hidden_grad_CH[part] = grad_KV @ head.weight_VH
            if weight_grad is not None:
                weight_grad.add(grad_KV.t() @ hidden_KH)
            if bias_grad is not None:
                bias_grad.add(grad_KV.sum(0))
        totals = (None if part is None else part.total() for part in (weight_grad, bias_grad))
        return hidden_grad_CH, *totals, None, None, None, None


def _chunks(num_tokens: int, chunk_tokens: int) -> list[slice]:
    return [slice(start, start + chunk_tokens) for start in range(0, num_tokens, chunk_tokens)]


class _Head:
    """A linear output layer: computes scores (logits / temperature) from hidden states, and their gradients.

    All chunks use the same buffers, because allocating new memory pages is as slow as a pass over them.
    """

    def __init__(
        self,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        dtype: torch.dtype,
        temperature: float,
        form: LogitForm,
        num_rows: int,
    ) -> None:
        self.weight_VH = weight_VH.to(dtype)
        self._bias_V = None if bias_V is None else bias_V.to(dtype)
        self._temperature, self._form = temperature, form
        shape, device = (num_rows, len(weight_VH)), weight_VH.device
        self._first = torch.empty(shape, dtype=torch.float32, device=device)
        self._second = torch.empty(shape, dtype=torch.float32, device=device)
        same = dtype == torch.float32
        self._products = self._first if same else torch.empty(shape, dtype=dtype, device=device)

    def statistics(self, hidden_KH: Tensor, targets_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logsumexp of the scores, log-prob of the target, entropy), each [K] float32."""
        scores_KV = self._scores(hidden_KH)
        peak_K1 = scores_KV.amax(-1, keepdim=True).float()
        peak_K = peak_K1.squeeze(-1)
        target_K = scores_KV.gather(-1, targets_K[:, None]).squeeze(-1).float() - peak_K
        rows = len(targets_K)
        relative_KV = torch.sub(scores_KV, peak_K1, out=self._first[:rows])
        exp_KV = torch.exp(relative_KV, out=self._second[:rows])
        sum_K = exp_KV.sum(-1)
        log_sum_K = sum_K.log()
        entropy_K = log_sum_K - exp_KV.mul_(relative_KV).sum(-1) / sum_K
        return peak_K + log_sum_K, target_K - log_sum_K, entropy_K

    def gradient(
        self,
        hidden_KH: Tensor,
        targets_K: Tensor,
        log_z_K: Tensor,
        entropy_K: Tensor,
        of_logprob_K: Tensor | None,
        of_entropy_K: Tensor | None,
    ) -> Tensor:
        """[K, V] gradient with respect to the layer's result, in its dtype.

        With p = softmax(scores): d logprob / d score_v = [v is the target] - p_v, d entropy / d score_v =
        -p_v (log p_v + entropy).
        """
        rows, factor, cap = len(targets_K), self._form.scale / self._temperature, self._form.cap
        scores_KV = self._scores(hidden_KH)
        # Derivative of cap * tanh(x / cap), from the function's value.
        slope_KV = None if cap is None else 1.0 - (scores_KV * (self._temperature / cap)).square_()
        grad_KV = torch.sub(scores_KV, log_z_K[:, None], out=self._first[:rows])
        if of_entropy_K is None:
            of_logprob_K = torch.zeros_like(log_z_K) if of_logprob_K is None else of_logprob_K
            grad_KV.exp_().mul_((-factor * of_logprob_K)[:, None])
        else:
            probs_KV = torch.exp(grad_KV, out=self._second[:rows])
            grad_KV.add_(entropy_K[:, None]).mul_((-factor * of_entropy_K)[:, None])
            if of_logprob_K is not None:
                grad_KV.sub_((factor * of_logprob_K)[:, None])
            grad_KV.mul_(probs_KV)
        if of_logprob_K is not None:
            grad_KV[torch.arange(rows, device=targets_K.device), targets_K] += factor * of_logprob_K
        if slope_KV is not None:
            grad_KV.mul_(slope_KV)
        return grad_KV if self._products is self._first else self._products[:rows].copy_(grad_KV)

    def _scores(self, hidden_KH: Tensor) -> Tensor:
        """[K, V] scores in a buffer, in the products' dtype; float32 if logits are capped."""
        rows, cap, factor = len(hidden_KH), self._form.cap, self._form.scale / self._temperature
        hidden_KH, out = hidden_KH.to(self.weight_VH.dtype), self._products[:rows]
        # The factor is part of the product, which saves a pass over [K, V] for the temperature.
        alpha = factor if cap is None else self._form.scale / cap
        if self._bias_V is None:
            torch.addmm(out, hidden_KH, self.weight_VH.t(), beta=0.0, alpha=alpha, out=out)
        else:
            torch.addmm(self._bias_V, hidden_KH, self.weight_VH.t(), beta=alpha, alpha=alpha, out=out)
        if cap is None:
            return out
        return torch.tanh(out, out=self._first[:rows]).mul_(cap / self._temperature)


class _Sum:
    """Sums the chunks' gradients of one parameter; several in float32, so that small ones are not rounded away."""

    def __init__(self, parameter: Tensor) -> None:
        self._parameter = parameter
        self._total: Tensor | None = None

    def add(self, part: Tensor) -> None:
        """Adds the gradient of a chunk."""
        self._total = part if self._total is None else self._total.float().add_(part)

    def total(self) -> Tensor:
        """The sum in the parameter's dtype; zeros if there was no token, because other ranks wait for a gradient."""
        return torch.zeros_like(self._parameter) if self._total is None else self._total.to(self._parameter.dtype)
