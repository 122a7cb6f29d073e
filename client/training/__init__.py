"""Training at a site, private or not."""
