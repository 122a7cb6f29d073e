"""Networks that learn from images alone what another job begins with."""
