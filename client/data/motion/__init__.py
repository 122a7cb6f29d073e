"""How a sample is changed at random for training, its fields alike."""
