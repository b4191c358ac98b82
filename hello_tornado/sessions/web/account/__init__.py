"""A page with the devices of a user, for any application."""
