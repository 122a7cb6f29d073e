"""Which images to label next, by a model of a run; the list stays at the hospital."""
