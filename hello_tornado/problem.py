"""Problems that an administrator can solve: one line with the cause and one with the remedy.

| exit code | means |
|---|---|
| 0 | done |
| 1 | an error in this program: a traceback |
| 2 | the command, the settings or the server's environment is wrong |
| 3 | the store or the database did not answer |
| 4 | there is no such user, session or database |
| 130 | interrupted, by Ctrl+C |
"""

from typing import Final

MISTAKEN: Final = 2
UNREACHABLE: Final = 3
MISSING: Final = 4
INTERRUPTED: Final = 130  # the convention of shells: 128 plus the signal's number


class Problem(Exception):
    """A problem that an administrator can solve.

    *cause* says what is wrong, *cure* what to do about it, each in one line without a full stop.
    """

    exit_code = MISTAKEN

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cure = cure


class Missing(Problem):
    """The user, the session or the database that a command names does not exist."""

    exit_code = MISSING


class Problems(Exception):
    """Several problems, reported together."""

    exit_code = MISTAKEN

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems
