"""What happens to a store while it is used: it hangs, or drops its connections."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pymysql
from redis import Redis
from sqlalchemy import make_url


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
    def locked(self) -> Iterator[None]:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES sessions WRITE")
            yield
            cursor.execute("UNLOCK TABLES")

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
