"""Judges math answers. `docs/math-answers.md` has the grammar and the rules of equality.

    math_judge      plain numbers at once; all else by a cache and worker processes (math_process, math_worker)
    verdict         in a worker: the rules in their order
    read_answer     a text as a tree: normal (prose, number_sets), units (unit_names), words, then
                    lexer (notation) and parser (terms, factors, letters, operators, commands, names),
                    which make `nodes`
    compare         two trees, by kind: shapes, equations, regions, sequences, special_forms
    equality        two expressions: exact, numeric, huge, symbolic

An answer is never executed: it becomes a tree of plain data, and only such trees are computed with.
"""
