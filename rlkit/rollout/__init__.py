"""Task -> Sample: vLLM engines, one per process, and the Ray pool that spreads prompts over them."""
