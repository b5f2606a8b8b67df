"""Recipes, their sections and their options."""
