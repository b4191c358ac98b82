"""Where the files that are no code live: migrations and templates."""

from importlib.resources import files
from pathlib import Path


def resource(name: str) -> Path:
    """Migrations, templates or settings.yaml: in the wheel, or beside the package in a checkout."""
    package = Path(str(files("hello_tornado")))
    packed = package / name
    return packed if packed.exists() else package.parent / name
