"""The round loop: train, aggregate, evaluate, save."""
