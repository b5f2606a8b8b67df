"""Logs, splits, batches, public data sets and the simulated shop."""
