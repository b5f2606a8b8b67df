"""The settings of the sections of a recipe that are not chosen by name."""
