"""Makes soft targets from a log or from a trained model."""
