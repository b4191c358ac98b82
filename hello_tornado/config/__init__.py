"""The settings, and what is made of them."""
