"""Scoring: reward parts as plugins, run over groups in processes that can be ended.

find, arguments -> plugin (load and check; foreign: other toolkits' functions) -> combine (pure: one total a sample)
worker (one process: parts within walls and limits) -> crew (the processes of one place: deadlines, replacements)
-> schedule (a group's way through the places; isolate: which sample it was)
pool (on Ray actors, for a run) | process (on child processes, for the command line)
cheats, trial, start: what `rlkit reward test` and `rlkit reward new` know
"""
