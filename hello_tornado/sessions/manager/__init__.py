"""The session manager: opens, commits, ends, purges and watches sessions."""
