"""Builds data, model, target and objective from a recipe."""
