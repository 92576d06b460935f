"""Reward functions as their authors write them for TRL, verl and OpenRLHF: nothing here knows of rlkit."""

import asyncio
import re

import torch


def trl_short(completions, solution, **kwargs):
    return [None if s == "?" else 1.0 / (1 + len(c[0]["content"])) for c, s in zip(completions, solution, strict=True)]


async def trl_async(prompts, completions, difficulty, log_extra=None, log_metric=None, **kwargs):
    await asyncio.sleep(0)
    values = [len(p) + len(c) + d for p, c, d in zip(prompts, completions, difficulty, strict=True)]
    log_extra("length", values)
    log_metric("mean", sum(values) / len(values))
    return values


def compute_score(data_source, solution_str, ground_truth, extra_info=None, bonus=0.0):
    found = re.findall(r"\\boxed\{(.*?)\}", solution_str)
    return float(bool(found) and found[-1] == ground_truth) + bonus


async def compute_score_async(data_source, solution_str, ground_truth, extra_info=None):
    await asyncio.sleep(0)
    right = ground_truth in solution_str
    return {"score": torch.tensor(0.25) if right else 0, "acc": right, "source": data_source}


def compute_score_with_its_own_loop(data_source, solution_str, ground_truth, extra_info=None):
    return asyncio.run(compute_score_async(data_source, solution_str, ground_truth))["score"]


def reward_func(queries, prompts, labels, **kwargs):
    return torch.tensor([len(q) - len(p) + float(label) for q, p, label in zip(queries, prompts, labels, strict=True)])


async def reward_func_dict(queries, prompts, labels):
    rewards = torch.tensor([0.5] * len(queries))
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"n": rewards}}


def reward_func_short(queries, prompts, labels):
    return torch.zeros(len(queries) - 1)
