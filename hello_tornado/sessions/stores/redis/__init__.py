"""Sessions in Redis and Valkey: one server, a master that sentinels name, or a cluster."""
