"""Server-side sessions for Tornado (`hello_tornado.sessions`) and a server made with them."""

from pathlib import Path

__version__ = "0.1.0"


def resource(name: str) -> Path:
    """Return the path of *name*: `migrations`, `templates` or `settings.yaml`.

    An installed wheel has them inside the package, a checkout beside it.
    """
    package = Path(__file__).parent
    packed = package / name
    return packed if packed.exists() else package.parent / name
