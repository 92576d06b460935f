"""Reward functions in the forms in which their authors may write them for TRL, verl and OpenRLHF."""

import asyncio
import functools
from decimal import Decimal

import numpy as np
import pandas as pd
import torch


def _lengths(completions):
    return [len(c[0]["content"]) / 10 for c in completions]


async def asynchronous(completions, **kwargs):
    await asyncio.sleep(0)
    return _lengths(completions)


def _scaled(factor, completions, **kwargs):
    return [factor * x for x in _lengths(completions)]


partial = functools.partial(_scaled, 2.0)
partial_by_name = functools.partial(_scaled, factor=2.0)


class Callable:
    def __init__(self, factor: float = 3.0):
        self.factor = factor

    def __call__(self, prompts, completions, **kwargs):
        return [self.factor * x for x in _lengths(completions)]


class AsyncCallable:
    async def __call__(self, completions, **kwargs):
        await asyncio.sleep(0)
        return _lengths(completions)


instance = Callable(0.5)
async_instance = AsyncCallable()


def timed(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@timed
def decorated(completions, solution):
    return [float(s == "2") * x for s, x in zip(solution, _lengths(completions), strict=True)]


def each(function):
    """A decorator after which the function takes the toolkit's arguments, which it does not take itself."""

    @functools.wraps(function)
    def wrapper(completions, solution, **kwargs):
        return [function(c[0]["content"], s) for c, s in zip(completions, solution, strict=True)]

    return wrapper


@each
def per_reply(text, gold):
    return float(gold in text)


def tensor(completions, **kwargs):
    return torch.tensor(_lengths(completions))


def column_of_a_tensor(completions, **kwargs):
    return torch.tensor(_lengths(completions)).unsqueeze(1)


def list_of_tensors(completions, **kwargs):
    return [torch.tensor(x) for x in _lengths(completions)]


def array(completions, **kwargs):
    return np.array(_lengths(completions), dtype=np.float32)


def array_with_nan(completions, **kwargs):
    return np.where(np.array(_lengths(completions)) > 1, 1.0, np.nan)


def numpy_scalars(completions, **kwargs):
    return [np.int64(1), np.float64(0.5), np.bool_(True), *([np.float32(2)] * (len(completions) - 3))]


def series(completions, **kwargs):
    return pd.Series(_lengths(completions), index=range(100, 100 + len(completions)))


def generator(completions, **kwargs):
    yield from _lengths(completions)


def values_view(completions, **kwargs):
    return dict(enumerate(_lengths(completions))).values()


def mixed(completions, **kwargs):
    return (True, False, 1, 0.5, None, float("nan"), Decimal("0.25"))[: len(completions)]


def for_math(completions, task, **kwargs):
    return [x if t == "math" else None for x, t in zip(_lengths(completions), task, strict=True)]


def for_code(completions, task, **kwargs):
    return [1.0 if t == "code" else None for t in task]


# What no toolkit takes


def endless(completions, **kwargs):
    while True:
        yield 1.0


def mapping(completions, **kwargs):
    return {"rewards": _lengths(completions)}


def one_number(completions, **kwargs):
    return 1.0


def texts(completions, **kwargs):
    return ["1.0"] * len(completions)


def pairs(completions, **kwargs):
    return torch.ones(len(completions), 2)


def nothing(completions, **kwargs):
    return None


def verl_pair(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0, {"acc": True}


def verl_none(data_source, solution_str, ground_truth, extra_info=None):
    return None


def verl_nan(data_source, solution_str, ground_truth, extra_info=None):
    return float("nan")


def verl_without_score(data_source, solution_str, ground_truth, extra_info=None):
    return {"reward": 1.0, "acc": True}


def verl_bool(data_source, solution_str, ground_truth, extra_info=None):
    return ground_truth in solution_str


def verl_numpy(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": np.float32(0.5), "acc": np.bool_(True)}


def verl_batch(data_sources, solution_strs, ground_truths, extra_infos):
    return [{"score": float(g in s), "n": len(s)} for s, g in zip(solution_strs, ground_truths, strict=True)]


def verl_missing(data_source, solution_str, ground_truth, router):
    return 1.0


def openrlhf_other_names(query, prompt, label):
    return [len(q) - len(p) + float(x) for q, p, x in zip(query, prompt, label, strict=True)]


def openrlhf_old(queries, prompts):
    return torch.tensor([len(q) - len(p) for q, p in zip(queries, prompts, strict=True)])


def openrlhf_logs(queries, prompts, labels, **kwargs):
    rewards = torch.arange(float(len(queries)))
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"place": rewards, "all": 7}}


def openrlhf_one(queries, prompts, labels):
    return {"rewards": torch.tensor(float(len(queries[0]) - len(prompts[0]))), "extra_logs": {"n": 1}}


def openrlhf_without_rewards(queries, prompts, labels):
    return {"scores": [1.0] * len(queries)}


def needs_difficulty(completions, difficulty, factor=1.0, **kwargs):
    return [factor if d is None else factor * d for d in difficulty]


def needs_trainer(completions, trainer_state):
    return [0.0] * len(completions)


def makes_one(size: int):
    def reward(completions, **kwargs):
        return [float(size)] * len(completions)

    return reward


def makes_nothing(size: int = 1):
    return size


def plain_function(response, reference):
    return 1.0


class NotCallable:
    pass
