"""Stateful fuzzing of all contracts together."""
