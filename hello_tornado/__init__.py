"""Server-side sessions for Tornado (`hello_tornado.sessions`) and a server made with them."""

from pathlib import Path

__version__ = "0.1.0"


def resource(name: str) -> Path:
    """Migrations, templates or settings.yaml: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    packed = package / name
    return packed if packed.exists() else package.parent / name
