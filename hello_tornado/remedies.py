"""What helps against a store that fails, by the words in which its driver says why."""

import re

CHECK_TLS = (
    "let the store speak TLS with a certificate that this machine trusts, or set store.url "
    "to one that does not ask for TLS"
)
CHECK_LOAD = (
    "see what keeps the store busy, and whether store.url leads to it: a port that expects TLS "
    "(or does not) is silent, too"
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
        "there is a table of this name that is not ours: name another database in store.url, or "
        "another table by ?table=app_sessions"
    ),
    r"read-only (transaction|option|mode)|READONLY|read only replica": (
        "let store.url lead to the server that takes writes"
    ),
    r"too many (clients|connections)|connection slots|max number of clients": (
        "allow more connections on the server, or start fewer processes"
    ),
    r"malformed": "restore a backup of the file; its disk, or a copy in use, has damaged it",
    r"removed or replaced": "put the file back, or restart the server to begin with an empty one",
    r"permission denied for|command denied": (
        "let the user in store.url read and write the table of sessions"
    ),
    r"no sentinel": (
        "start the sentinels, or set their hosts, their ports and the name that they give the "
        "master in store.url: redis+sentinel://host:26379/name/0"
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
    r"DB index is out of range": "name a database of this Redis in store.url: redis://host:6379/0",
    r"cluster mode is not enabled": "this Redis is no cluster: begin store.url with redis://",
    r"refused|connect|resolve|not known|no route": (
        "start the store, or set its host and port in store.url"
    ),
    r"in time": CHECK_LOAD,
    r"database file|not a database|locked|read-?only|no such file|permission": CHECK_FILE,
}
OTHERWISE = "check that the store runs, and that store.url leads to it"


def cure_of(cause: object) -> str:
    """One line that says what to do about *cause*."""
    text = str(cause)
    found = (cure for words, cure in CURES.items() if re.search(words, text, re.IGNORECASE))
    return next(found, OTHERWISE)
