"""Environment variables that set a process's CPU threads and visible GPUs."""

from __future__ import annotations


def thread_env(threads: int, gpus: float) -> dict[str, str]:
    """Environment variables of a worker process. Set them before it imports numpy, torch or vLLM, which read them once.

    Args:
        threads: CPU threads for each library.
        gpus: GPUs of the process; 0: no GPU is visible to it.
    """
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = dict.fromkeys(libraries, str(threads)) | {"TOKENIZERS_PARALLELISM": "false"}
    return env if gpus else env | {"CUDA_VISIBLE_DEVICES": ""}
