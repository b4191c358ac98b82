"""Sessions in SQLite, PostgreSQL, MariaDB and MySQL."""
