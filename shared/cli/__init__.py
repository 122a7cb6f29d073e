"""`wardround job`, and what the commands of both sides have in common."""
