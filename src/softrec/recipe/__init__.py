"""What may be said: recipes, their sections and options."""
