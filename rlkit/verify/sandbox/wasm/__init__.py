"""Tier "wasm": CPython as a WebAssembly component, for systems where the kernel isolates nothing.

Pure Python only, with the modules of the standard library that `guest` names.

    build: makes a component with our harness in it, once a version, in the user's cache
    wasm_worker: a process that runs each job in a fresh instance of the component
    wasm_client: the judge's side

The guest has no files, network, environment, threads or processes: those calls do nothing. Its memory is one array of
bounded size. Not covered are faults of wasmtime itself (its process gives up root first) and the timing of shared
hardware.
"""
