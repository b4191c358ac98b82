"""What can be wrong around the server, said in one line of cause and one of cure.

| exit code | means |
|---|---|
| 0 | done |
| 1 | an error in this program: a traceback |
| 2 | the command or the settings are wrong, or something around the server is |
| 3 | the store or the database did not answer |
| 4 | there is no such user, session or database |
| 130 | interrupted, by Ctrl+C |
"""

from typing import Final

MISTAKEN: Final = 2
UNREACHABLE: Final = 3
MISSING: Final = 4
INTERRUPTED: Final = 130  # as shells have it: 128 and the signal's number


class Problem(Exception):
    """Something the person who runs the server can set right; `cure` says how."""

    exit_code = MISTAKEN

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cure = cure


class Missing(Problem):
    """What a command is about is not there."""

    exit_code = MISSING


class Problems(Exception):
    """Several of them, to be told at once."""

    exit_code = MISTAKEN

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems
