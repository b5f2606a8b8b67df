"""From a trained model to recommendations."""
