"""The hospital's record: its own query says which studies are wanted, and what is known of them."""
