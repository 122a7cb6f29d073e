"""What a trained model gives away: attacks that guess who was trained on, on the site's own patients."""
