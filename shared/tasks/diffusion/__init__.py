"""Diffusion: images are drawn out of noise, a little at a time."""
