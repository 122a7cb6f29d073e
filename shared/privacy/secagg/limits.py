"""How many sites a secure sum may have."""

LEAST_SITES = 3  # of two sites each would know the other's update: the sum without its own
MOST_SITES = 1000
