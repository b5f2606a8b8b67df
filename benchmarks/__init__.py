"""Paired timings: softrec and a plain implementation of the same work, in one process."""
