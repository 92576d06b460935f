"""One vLLM engine in this process, driven by a loop over `step()`.

The process that uses it sets `engine_env()` before anything imports vllm or torch.
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
    """Everything an engine is made from."""

    model_path: str
    """Folder or Hub name of the weights to start from; later ones come by weight sync."""
    keys: RolloutKeys
    """The recipe's rollout section."""
    precision: str
    """The engine's dtype."""
    seed: int
    """Seed of the engine itself; samples have their own."""
    sleeps: bool = False
    """Whether it is to give its GPU memory to the learner during updates."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on GPUs."""
        return self.keys.gpus > 0


def engine_env(keys: RolloutKeys) -> dict[str, str]:
    """Environment of a process that is to hold an engine."""
    env = thread_env(keys.num_threads, keys.gpus) | {
        # The engine lives in the actor's own process: it starts in seconds and small models sample faster.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not keys.gpus:
        # Threads are not pinned to cores: several engines and a learner share them.
        env["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        if "compilation_config" not in keys.engine and keys.engine.get("enforce_eager") is not False:
            # Eager mode: nothing is compiled, so no C++ compiler is needed and the first step is not 10 s late.
            env["TORCHDYNAMO_DISABLE"] = "1"
    return env


def engine_arguments(spec: EngineSpec) -> dict[str, Any]:
    """The arguments vLLM's EngineArgs gets: ours, then the recipe's `rollout.engine`."""
    args: dict[str, Any] = {
        "model": spec.model_path,
        "dtype": spec.precision,
        "seed": spec.seed % 2**31,
        # Log-probs of the distribution that is sampled from: after temperature and truncation.
        "logprobs_mode": "processed_logprobs",
        "disable_log_stats": True,
    }
    if spec.on_gpu:
        args["tensor_parallel_size"] = max(1, int(spec.keys.gpus))
        if spec.keys.gpus < 1:
            # vLLM would take most of a GPU that it shares with others here.
            args["gpu_memory_utilization"] = round(0.9 * spec.keys.gpus, 3)
        if spec.sleeps:
            args["enable_sleep_mode"] = True
    else:
        args |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": int(spec.keys.cache_gib * 2**30),
            # Of a small model a step costs the same for many samples as for few; vLLM's own limit on a CPU is 128.
            "max_num_seqs": 256,
            # Samples of a group share the whole blocks of their prompt, which is then computed once. vLLM's own 128
            # tokens are longer than most prompts; its CPU attention takes multiples of 32.
            "block_size": 32,
            # vLLM 0.32 on a CPU: a prompt cut in two rewinds its request's seeded generator, which CPU generators
            # cannot do ("CPU Generator does not use offset").
            "enable_chunked_prefill": False,
        }
    return args | spec.keys.engine


class Engine:
    """A vLLM engine: groups in, groups out, weights in."""

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
        """The vLLM engine, for weight sync."""
        return self._llm

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Draws every request's samples; yields (request.index, group) the moment a group is finished."""
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
        """Drops whatever an abandoned `draw` left in the engine."""
        if self._llm.has_unfinished_requests():
            self._llm.abort_request(list(self._llm.output_processor.request_states), internal=True)
            while self._llm.has_unfinished_requests():
                self._llm.step()

    def sleep(self) -> None:
        """Frees all GPU memory; the next weights have to come inside `waking`."""
        self.abort()
        self._llm.sleep(level=2)
        self._asleep = True

    @contextmanager
    def waking(self) -> Iterator[None]:
        """Around a load of weights: gives a sleeping engine memory for them, and for its cache after they have come."""
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
            "skip_special_tokens": False,  # a stop string may be one
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        if request.greedy:
            return SamplingParams(temperature=0.0, **common)
        if request.truncated:
            common |= {"top_p": keys.top_p, "top_k": keys.top_k, "min_p": keys.min_p}
        return SamplingParams(temperature=keys.temperature, seed=seed, **common)

    def _sample(self, request: DrawRequest, number: int, output: CompletionOutput) -> Sample:
        import numpy as np  # not at the top: a recipe's checks import this module

        token_ids = list(output.token_ids)
        logprobs: Sequence[Mapping[int, Any]] = output.logprobs or ()
        shown = token_ids[:-1] if token_ids and token_ids[-1] in self._ends else token_ids
        return Sample(
            id=f"{request.task.id}#{number}",
            response=request.forced + self._tokenizer.decode(shown, skip_special_tokens=False),
            num_tokens=len(token_ids),
            finish_reason=output.finish_reason or "stop",
            token_ids=np.array(token_ids, np.int32),
            # vLLM's numbers are of 32 bits: none is lost.
            logprobs=np.array([at[t].logprob for at, t in zip(logprobs, token_ids, strict=True)], np.float32),
            seed=request.seeds[number],
            policy_version=self.policy_version,
            prompt_ids=request.prompt_ids,
        )


def end_tokens(eos: int | None, generation: Mapping[str, Any]) -> frozenset[int]:
    """The tokens that end a reply in vLLM: the tokenizer's own and those of the model's generation config."""
    found = generation.get("eos_token_id")
    more = found if isinstance(found, list) else [found]
    return frozenset(token for token in (eos, *more) if token is not None)


def refusal_of_vllm(spec: EngineSpec) -> str:
    """What vLLM says against an engine's arguments, in a line; nothing where it takes them. Builds no engine."""
    from vllm import EngineArgs

    try:
        EngineArgs(**engine_arguments(spec)).create_engine_config()
    except Exception as e:  # whatever vLLM and the model's config raise
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        said = next((line for line in lines if "Value error" in line), lines[0] if lines else type(e).__name__)
        return said.removeprefix("Value error, ").partition(" [type=")[0]
    return ""
