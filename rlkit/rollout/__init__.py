"""Draws samples for tasks: vLLM engines, one per process, and the Ray pool that distributes prompts over them."""
