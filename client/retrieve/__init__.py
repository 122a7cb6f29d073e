"""Images of a hospital's own archive that a model finds like another; nothing of it leaves."""
