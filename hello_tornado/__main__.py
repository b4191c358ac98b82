"""What `python -m hello_tornado` runs."""

from hello_tornado.cli.main import main

main()
