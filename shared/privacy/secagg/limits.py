"""How many sites a secure sum may have, and how much each may count."""

LEAST_SITES = 3  # of two sites each would know the other's update: the sum without its own
MOST_SITES = 1000
LARGEST_WEIGHT = 2**20  # images of a site
