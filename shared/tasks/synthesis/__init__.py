"""Synthesis: channels of an image are made from others of it."""
