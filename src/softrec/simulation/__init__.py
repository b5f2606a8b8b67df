"""A shop with a known truth, and the log of its users."""
