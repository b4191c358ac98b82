"""Sessions as a service: open, commit, end, purge and watch them."""
