"""Scripts for those who work on Charloom; the product does without them."""
