"""The entry point of `python -m hello_tornado`."""

from hello_tornado.cli.main import main

main()
