"""Judges: each takes an answer and returns a `Verdict`. They do not depend on rewards.

extract, extract_code   find the answer, or the program, in a reply
plain                   texts, choices, and numbers within a tolerance, in microseconds
math/                   exact equality of math answers, in worker processes that can be killed
code/                   programs against tests, in a sandbox/
steps/                  checks equations and relations in a thought, for the reasoning part
"""
