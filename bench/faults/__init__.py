"""The fault campaign: what a session keeps while processes, networks and databases fail.

    python -m bench.faults [STORE…]

- `app.py`        the application under test, and `broken.py` its deliberately broken versions
- `visitors.py`   the clients; they write every request into a ledger (`ledger.py`)
- `faults.py`     the faults, one function each
- `databases.py`  the databases, as an administrator handles them, and a file for each of them;
  `pgbouncer.py`, `galera.py`, `sentinel.py` and `redis_cluster.py` are several servers together
- `started.py`    starts one of them, and ends it
- `proxy.py`      the network before a database
- `world.py`      processes, proxies and a database together
- `checker.py`    decides from the ledger alone which promises were broken
- `campaign.py`   one run: traffic, a fault, recovery, a last look at every session
- `report.py`     the table
- `side_by_side.py`  parallel writes and logout races, here and on other session libraries
"""
