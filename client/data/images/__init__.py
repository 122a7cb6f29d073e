"""Image files as pictures: read, laid on each other, resampled, brought to a common range."""
