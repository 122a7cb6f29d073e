"""The work that a site does for a message."""
