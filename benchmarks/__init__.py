"""Paired timings: softrec beside the plain way of doing the same work, in one run."""
