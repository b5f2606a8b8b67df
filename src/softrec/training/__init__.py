"""Training: the step and the loop, checkpoints, and optimisers."""
