"""Where candidate programs run: `client` (in the judge's process) -> `zygote` (trusted, forks) -> `child`."""
