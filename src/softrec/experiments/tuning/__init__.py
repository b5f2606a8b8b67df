"""Search of settings on validation: the space, the first trials, the study, and its result."""
