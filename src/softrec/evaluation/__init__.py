"""Metrics, protocols and paired statistics."""
