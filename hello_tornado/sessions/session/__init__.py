"""The session object of a handler: a dict that records its changes. No I/O, clock or Tornado."""
