"""Vector-quantised autoencoders: an image is a grid of codes, and another network draws such grids."""
