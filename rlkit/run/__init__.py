"""Runs a recipe: checks, inputs, and the stages one after another."""
