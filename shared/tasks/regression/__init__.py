"""Regression: numbers such as an age or a volume, from an image, the columns of a table, or both."""
