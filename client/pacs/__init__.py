"""A hospital's archive of images (PACS)."""
