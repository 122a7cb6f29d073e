"""Generation: a network that draws images like those of the hospitals."""
