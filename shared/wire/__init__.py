"""What travels between coordinator and site, and the way that it takes."""
