"""Restoration: noise, coarse pixels, motion and shading are taken out of images."""
