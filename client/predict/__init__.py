"""A finished run's model on images: scores, masks, boxes and a page to look at."""
