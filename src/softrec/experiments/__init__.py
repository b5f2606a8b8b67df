"""Recipes, runs, comparisons and reports."""
