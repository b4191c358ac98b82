"""The routes of the server, one file for each thing that a person or a machine asks of it."""
