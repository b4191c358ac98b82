"""What happens to a store while it is used: it hangs, or drops its connections."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pymysql
from psycopg import sql
from redis import Redis
from sqlalchemy import make_url

from hello_tornado.accounts.tables import metadata

TABLES = ["sessions", *metadata.tables]


class Postgresql:
    """What a database administrator can do to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self.url) as connection:
            connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    @contextmanager
    def holding(self, key: bytes) -> Iterator[None]:
        """Somebody else holds the row of *key*."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT 1 FROM sessions WHERE key = %s FOR UPDATE", (key,))
            yield
            connection.rollback()

    @contextmanager
    def changing(self, keys: Sequence[bytes]) -> Iterator[Callable[[bytes], object]]:
        """Somebody is changing the rows of *keys*; yields what takes another one besides."""
        lock = "SELECT 1 FROM sessions WHERE key = %s FOR UPDATE"
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE sessions SET version = 7 WHERE key = ANY(%s)", ([*keys],))
            yield lambda key: connection.execute(lock, (key,))
            connection.rollback()

    def is_anybody_waiting(self) -> bool:
        """Whether a connection to this database waits for a lock."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            query = (
                "SELECT 1 FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return connection.execute(query).fetchone() is not None

    def connections(self) -> set[int]:
        """The numbers of the connections to this database, but for our own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return {number for (number,) in found}

    def kill_waiting(self) -> int:
        """End the connections that wait for a lock; returns how many."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return len(found.fetchall())

    def empty(self) -> None:
        """Close all connections but our own, and delete what is in the tables."""
        self.kill_connections()
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in TABLES:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))

    def kill_connections(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


class Mariadb:
    """What a database administrator can do to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        url = make_url(self.url)
        return pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=str(url.password),
            database=url.database,
        )

    @contextmanager
    def holding(self, key: bytes) -> Iterator[None]:
        """Somebody else holds the row of *key*."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sessions WHERE `key` = %s FOR UPDATE", (key,))
            yield
            connection.rollback()

    @contextmanager
    def changing(self, keys: Sequence[bytes]) -> Iterator[Callable[[bytes], object]]:
        """Somebody is changing the rows of *keys*; yields what takes another one besides."""
        lock = "SELECT 1 FROM sessions WHERE `key` = %s FOR UPDATE"
        with self._connect() as connection, connection.cursor() as cursor:
            for key in keys:
                cursor.execute("UPDATE sessions SET version = 7 WHERE `key` = %s", (key,))
            yield lambda key: cursor.execute(lock, (key,))
            connection.rollback()

    def is_anybody_waiting(self) -> bool:
        """Whether a transaction waits for a lock."""
        with self.connected() as cursor:
            cursor.execute(
                "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            )
            return cursor.fetchone() is not None

    def connections(self) -> set[int]:
        """The numbers of the connections to this database, but for our own."""
        return {number for number, _ in self._processes()}

    def kill_waiting(self) -> int:
        """End the connections that wait for a lock; returns how many."""
        waiting = [number for number, query in self._processes() if "FOR UPDATE" in str(query)]
        with self.connected() as cursor:
            for number in waiting:
                cursor.execute(f"KILL {number}")
        return len(waiting)

    def _processes(self) -> list[tuple[int, str | None]]:
        with self.connected() as cursor:
            cursor.execute(
                "SELECT id, info FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            return [*cursor.fetchall()]

    @contextmanager
    def connected(self) -> "Iterator[pymysql.cursors.Cursor]":
        with self._connect() as connection, connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES sessions WRITE")
            yield
            cursor.execute("UNLOCK TABLES")

    def empty(self) -> None:
        """Close all connections but our own, and delete what is in the tables."""
        self.kill_connections()
        with self._connect() as connection, connection.cursor() as cursor:
            for name in TABLES:
                cursor.execute(f"DELETE FROM {name}")
            connection.commit()

    def kill_connections(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")


class RedisServer:
    """What the administrator of a Redis can do to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def locked(self) -> Iterator[None]:
        with Redis.from_url(self.url.partition("?")[0]) as client:
            process = client.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)


Administrator = Postgresql | Mariadb
