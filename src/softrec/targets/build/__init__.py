"""What makes soft targets out of a log or of a trained model."""
