"""The coordinator's pages, on the people's listener: runs, sites, people, and what is decided about them."""
