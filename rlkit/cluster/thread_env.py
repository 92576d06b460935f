"""The environment variables by which a process gets its CPU threads and sees GPUs."""

from __future__ import annotations


def thread_env(threads: int, gpus: float) -> dict[str, str]:
    """Environment of a process that computes; set before it loads numpy, torch or vLLM, which read it once.

    Args:
        threads: CPU threads of each library.
        gpus: GPUs that it was given; 0: it sees none.
    """
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = dict.fromkeys(libraries, str(threads)) | {"TOKENIZERS_PARALLELISM": "false"}
    return env if gpus else env | {"CUDA_VISIBLE_DEVICES": ""}
