"""The settings of the server: reading them, and checking them."""
