"""One vLLM engine in this process, driven by a loop over `step()`.

`engine_env()` must be set in the process before vllm or torch is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlkit.cluster.thread_env import thread_env
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Group, Sample
from rlkit.rollout.request import DrawRequest

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput


@dataclass(frozen=True)
class EngineSpec:
    """Everything that defines an engine."""

    model_path: str
    """Folder or Hub name of the initial weights; weight syncs replace them later."""
    keys: RolloutKeys
    """The recipe's rollout section."""
    precision: str
    """The engine's dtype."""
    seed: int
    """Seed of the engine itself; each sample has its own seed."""
    sleeps: bool = False
    """Whether it frees its GPU memory for the learner during updates."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on GPUs."""
        return self.keys.gpus > 0


def engine_env(keys: RolloutKeys) -> dict[str, str]:
    """Environment variables of a process that will run an engine."""
    env = thread_env(keys.num_threads, keys.gpus) | {
        # The engine runs in the actor's own process: it starts faster, and small models sample faster.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not keys.gpus:
        # Do not pin threads to cores: several engines and a learner share them.
        env["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        if "compilation_config" not in keys.engine and keys.engine.get("enforce_eager") is not False:
            # Eager mode: no compilation, so no C++ compiler is needed and the first step is 10 s faster.
            env["TORCHDYNAMO_DISABLE"] = "1"
    return env


def engine_arguments(spec: EngineSpec) -> dict[str, Any]:
    """The arguments for vLLM's EngineArgs: rlkit's, overridden by the recipe's `rollout.engine`."""
    args: dict[str, Any] = {
        "model": spec.model_path,
        "dtype": spec.precision,
        "seed": spec.seed % 2**31,
        # Log-probs of the sampling distribution, after temperature and truncation.
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
    }
    if spec.on_gpu:
        args["tensor_parallel_size"] = max(1, int(spec.keys.gpus))
        if spec.keys.gpus < 1:
            # By default vLLM takes most of the GPU, which it shares here.
            args["gpu_memory_utilization"] = round(0.9 * spec.keys.gpus, 3)
        if spec.sleeps:
            args["enable_sleep_mode"] = True
    else:
        args |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": int(spec.keys.cache_gib * 2**30),
            # With a small model, a step costs the same for many samples as for few; vLLM's CPU default is 128.
            "max_num_seqs": 256,
            # The samples of a group share the complete cache blocks of their prompt, so these are computed once. vLLM's
            # CPU default of 128 tokens is longer than most prompts; its CPU attention needs multiples of 32.
            "block_size": 32,
            # vLLM 0.32 on a CPU: prefilling a prompt in chunks rewinds the request's seeded generator, which CPU
            # generators do not support ("CPU Generator does not use offset").
            "enable_chunked_prefill": False,
        }
    return args | spec.keys.engine


class Engine:
    """A vLLM engine that draws groups of samples and loads new weights."""

    def __init__(self, spec: EngineSpec) -> None:
        from vllm import EngineArgs, LLMEngine

        self.spec = spec
        self.policy_version = 0
        self._asleep = False
        self._llm = LLMEngine.from_engine_args(EngineArgs(**engine_arguments(spec)))
        self._tokenizer: Any = self._llm.get_tokenizer()
        self._ends = end_tokens(self._tokenizer.eos_token_id, self._llm.model_config.try_get_generation_config())
        self._serial = 0

    @property
    def llm(self) -> Any:
        """The vLLM engine object, for weight sync."""
        return self._llm

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Draws the samples of every request; yields (request.index, group) as soon as a group is finished."""
        done: dict[int, dict[int, Sample]] = {}
        place: dict[str, tuple[DrawRequest, int]] = {}
        self.abort()
        for request in requests:
            for number, seed in enumerate(request.seeds):
                self._serial += 1
                key = str(self._serial)
                place[key] = (request, number)
                self._llm.add_request(
                    key, {"prompt_token_ids": request.prompt_ids.tolist()}, self._sampling(request, seed)
                )
        while place:
            for output in self._llm.step():
                if not output.finished:
                    continue
                request, number = place.pop(output.request_id)
                samples = done.setdefault(request.index, {})
                samples[number] = self._sample(request, number, output.outputs[0])
                if len(samples) == len(request.seeds):
                    ordered = tuple(samples[i] for i in range(len(samples)))
                    yield request.index, Group(request.task, ordered)

    def abort(self) -> None:
        """Drops requests that an abandoned `draw` left in the engine."""
        if self._llm.has_unfinished_requests():
            self._llm.abort_request(list(self._llm.output_processor.request_states), internal=True)
            while self._llm.has_unfinished_requests():
                self._llm.step()

    def sleep(self) -> None:
        """Frees all GPU memory. The next weights must be loaded inside `waking`."""
        self.abort()
        self._llm.sleep(level=2)
        self._asleep = True

    @contextmanager
    def waking(self) -> Iterator[None]:
        """Context for loading weights: a sleeping engine allocates memory for them, and afterwards for its cache."""
        if self._asleep:
            self._llm.wake_up(tags=["weights"])
        yield
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._asleep = False

    def _sampling(self, request: DrawRequest, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        keys = self.spec.keys
        common: dict[str, Any] = {
            "max_tokens": request.max_tokens or keys.max_tokens,
            "logprobs": 0,
            "stop": keys.stop or None,
            "include_stop_str_in_output": True,
            "detokenize": bool(keys.stop),
            "skip_special_tokens": False,  # a stop string may be a special token
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        if request.greedy:
            return SamplingParams(temperature=0.0, **common)
        if request.truncated:
            common |= {"top_p": keys.top_p, "top_k": keys.top_k, "min_p": keys.min_p}
        return SamplingParams(temperature=keys.temperature, seed=seed, **common)

    def _sample(self, request: DrawRequest, number: int, output: CompletionOutput) -> Sample:
        import numpy as np  # not at the top: recipe checks import this module and must be fast

        token_ids = list(output.token_ids)
        logprobs: Sequence[Mapping[int, Any]] = output.logprobs or ()
        shown = token_ids[:-1] if token_ids and token_ids[-1] in self._ends else token_ids
        return Sample(
            id=f"{request.task.id}#{number}",
            response=request.forced + self._tokenizer.decode(shown, skip_special_tokens=False),
            num_tokens=len(token_ids),
            finish_reason=output.finish_reason or "stop",
            token_ids=np.array(token_ids, np.int32),
            # vLLM's log-probs are float32, so nothing is lost.
            logprobs=np.array([at[t].logprob for at, t in zip(logprobs, token_ids, strict=True)], np.float32),
            seed=request.seeds[number],
            policy_version=self.policy_version,
            prompt_ids=request.prompt_ids,
        )


def end_tokens(eos: int | None, generation: Mapping[str, Any]) -> frozenset[int]:
    """The tokens that end a reply in vLLM: the tokenizer's end token and those of the model's generation config."""
    found = generation.get("eos_token_id")
    more = found if isinstance(found, list) else [found]
    return frozenset(token for token in (eos, *more) if token is not None)


def vllm_refusal(spec: EngineSpec) -> str:
    """vLLM's error about an engine's arguments, on one line; "" if it accepts them. Builds no engine."""
    from vllm import EngineArgs

    try:
        EngineArgs(**engine_arguments(spec)).create_engine_config()
    except Exception as e:  # whatever vLLM and the model's config raise
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        message = next((line for line in lines if "Value error" in line), lines[0] if lines else type(e).__name__)
        return message.removeprefix("Value error, ").partition(" [type=")[0]
    return ""
