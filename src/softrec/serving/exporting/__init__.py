"""From a trained model to files that serve it without torch; writing them needs torch."""
