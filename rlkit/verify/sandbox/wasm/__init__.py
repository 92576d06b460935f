"""Tier "wasm": CPython as a WebAssembly component, for systems where the kernel isolates nothing.

Pure Python only, with the modules of the standard library that `guest` names.

build (a component with our harness in it, once a version, into the user's cache) -> worker (a process that runs each
job in a fresh instance) -> client (the judge's side). The guest has no files, network, environment, threads or
processes: there is nothing behind those calls. Its memory is one array of bounded size. Left to cover are faults of
wasmtime itself (its process gives up root first) and the timing of shared hardware.
"""
