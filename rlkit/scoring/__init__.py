"""Scoring: reward parts as plugins, run over groups in killable actors.

plugin (load and check) -> combine (pure: one group, one total a sample) -> pool (Ray actors with deadlines)
"""
