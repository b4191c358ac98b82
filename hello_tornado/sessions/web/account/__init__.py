"""The page of a person's devices, for any application."""
