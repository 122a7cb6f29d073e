"""Registration: one image is moved onto another."""
