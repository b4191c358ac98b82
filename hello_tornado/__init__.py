"""Server-side sessions for Tornado (`hello_tornado.sessions`) and a server made with them."""

__version__ = "0.1.0"
