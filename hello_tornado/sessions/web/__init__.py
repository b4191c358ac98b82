"""Sessions in Tornado: handlers, sockets, and the pages of an account."""
