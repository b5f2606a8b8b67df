"""The sections of a recipe, one file each: what may be said, and what it means."""
