"""Learning from images that nobody has labelled, beside those that somebody has."""
