"""What is kept: run folders, artifacts, and their hashes."""
