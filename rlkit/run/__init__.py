"""One start of a run: everything checked, its inputs, and its stages one after another."""
