"""Judges: an answer goes in, a `Verdict` comes out. They know nothing of rewards.

extract (which text is the answer) -> math (exact equivalence, in killable workers) | code (tests, in a sandbox)
"""
