"""Settings searched on validation: a space, where to begin, a study that goes on, a winner."""
