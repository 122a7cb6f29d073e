"""Detection of objects in images and volumes."""
