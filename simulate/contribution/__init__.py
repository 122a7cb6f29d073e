"""What each hospital brought to a model, from rehearsals with some of them."""
