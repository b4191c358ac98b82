"""The server's databases: connections for commands, and upgrades of the schema."""
