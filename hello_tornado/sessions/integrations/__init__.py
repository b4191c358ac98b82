"""Sessions in other programs that are built on Tornado, one module for each."""
