"""Why a model says what it says of an image: maps of what speaks for it, made where the images are."""
