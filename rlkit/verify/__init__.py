"""Judges: an answer goes in, a `Verdict` comes out. They know nothing of rewards.

extract, extract_code   which part of a reply is the answer, or the program
plain                   texts, choices, and numbers within a tolerance, in microseconds
math/                   exact equality of math answers, in worker processes that can be killed
code/                   programs against tests, in a sandbox/
steps/                  relations that a thought states, for the reasoning part
"""
