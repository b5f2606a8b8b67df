"""Softmax losses: the theory, its reference, and the streamed pass."""
