"""Suggests what to do when a store fails, by the words of its driver's error message."""

import re

CHECK_TLS = (
    "enable TLS on the store, with a certificate that this machine trusts, or set store.url "
    "to a URL that does not ask for TLS"
)
CHECK_LOAD = (
    "check what keeps the store busy, and check the port in store.url: a port for TLS does not "
    "answer a client without TLS, nor the other way round"
)
CHECK_FILE = (
    "check that the file is a SQLite database, that you may write it and its directory, "
    "and that no other process keeps it locked"
)
CURES = {
    r"binlog_format": "set binlog_format to ROW or MIXED on the server",
    r"max_allowed_packet": "raise max_allowed_packet on the server, or lower session.max_bytes",
    r"invalid connection option|unexpected keyword": "take the option out of store.url",
    r"column .* does not exist|unknown column|no such column": (
        "another program has a table of this name: name another database in store.url, or "
        "another table with ?table=app_sessions"
    ),
    r"read-only (transaction|option|mode)|READONLY|read only replica": (
        "set store.url to the server that accepts writes"
    ),
    r"too many (clients|connections)|connection slots|max number of clients": (
        "allow more connections on the server, or start fewer processes"
    ),
    r"malformed": (
        "restore a backup of the file; it was damaged by its disk, or copied while in use"
    ),
    r"removed or replaced": "put the file back, or restart the server to start with an empty one",
    r"permission denied for|command denied": (
        "allow the user in store.url to read and write the table of sessions"
    ),
    r"no sentinel": (
        "start the sentinels, or set their hosts, their ports and the name of the master "
        "in store.url: redis+sentinel://host:26379/name/0"
    ),
    r"password|denied|authenti|the user|role .* does not exist": (
        "set the user and the password in store.url; an @ in the password is written %40"
    ),
    r"ssl|tls|certificate": CHECK_TLS,
    r"database .* does not exist|unknown database": (
        "create the database, or name another one in store.url"
    ),
    r"schema .* does not exist": "create the schema, or name another one in store.url",
    r"relation .* does not exist|table .* doesn't exist|no such table": (
        "run: python -m hello_tornado db upgrade; if that changes nothing, restore a backup"
    ),
    r"DB index is out of range": (
        "set the number of a database that this Redis has in store.url: redis://host:6379/0"
    ),
    r"cluster mode is not enabled": "this Redis is not a cluster: begin store.url with redis://",
    r"refused|connect|resolve|not known|no route": (
        "start the store, or set its host and port in store.url"
    ),
    r"in time": CHECK_LOAD,
    r"database file|not a database|locked|read-?only|no such file|permission": CHECK_FILE,
}
OTHERWISE = "check that the store is running, and that store.url is its address"


def cure_of(cause: object) -> str:
    """Return one line that says what to do about *cause*, an error or its text."""
    text = str(cause)
    found = (cure for words, cure in CURES.items() if re.search(words, text, re.IGNORECASE))
    return next(found, OTHERWISE)
