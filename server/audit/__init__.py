"""The coordinator's audit log."""
