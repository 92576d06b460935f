"""Reads tasks and demonstrations, draws tasks in a seeded order that can be saved, and renders prompts.

Source -> read_rows / hub / builtin -> Row -> mappings -> RowDraft -> Task | Demonstration | BadRow -> TaskStream
"""
