"""Simple baselines, one per file: models that are counted, not trained."""
