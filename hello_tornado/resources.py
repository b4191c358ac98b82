"""Where the files that are no code live: migrations and templates."""

from importlib.resources import files
from pathlib import Path


def resource(name: str) -> Path:
    """The *migrations* or *templates*: packed in the wheel, or one floor up in a checkout."""
    package = Path(str(files("hello_tornado")))
    packed = package / name
    return packed if packed.is_dir() else package.parent / name
