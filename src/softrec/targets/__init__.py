"""Soft targets, known by their answers."""
