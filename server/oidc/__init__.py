"""Log-in with an account of an institution (OpenID Connect), by browser or as a device; groups are roles."""
