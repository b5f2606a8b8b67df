"""Storage: run folders, artifacts, and their hashes."""
