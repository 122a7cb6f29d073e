"""Keys, certificates and the authority of a federation."""
