"""What can be wrong around the server, said in one line of cause and one of cure."""


class Problem(Exception):
    """Something the person who runs the server can set right; `cure` says how."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cure = cure


class Problems(Exception):
    """Several of them, to be told at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems
