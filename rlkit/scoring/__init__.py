"""Scoring: reward parts as plugins, run over groups in processes that can be killed.

plugins/: load and check reward parts, and adapt other toolkits' reward functions
combine: one total per sample from the scores of its parts; pure functions
processes/: run the parts in worker processes with deadlines and memory limits (Ray actors for a run, child processes
for the command line), replace workers that fail, and find the samples on which a part fails
kit/: `rlkit reward test`, `new` and `score`, and `rlkit verify`
"""
