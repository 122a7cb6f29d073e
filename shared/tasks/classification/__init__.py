"""Classification of images: two classes, several, or several labels per image."""
