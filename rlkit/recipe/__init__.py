"""Loads a recipe from YAML and overrides and validates it, without heavy imports."""
