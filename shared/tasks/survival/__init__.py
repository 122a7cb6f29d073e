"""Survival: how soon an event comes, from the columns of a table and, where asked, an image."""
