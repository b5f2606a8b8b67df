"""Logs that do not fit in memory: events in files, user by user, read as memory maps."""
