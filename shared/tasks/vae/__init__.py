"""Variational autoencoders: one network puts an image into a few numbers, another draws it from them."""
