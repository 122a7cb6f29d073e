"""What tasks share whose answer is an image: how far it is from the true one, and losses."""
