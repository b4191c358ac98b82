"""The server's databases: their schema, and the way between its versions."""
