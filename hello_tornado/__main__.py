"""python -m hello_tornado"""

from hello_tornado.cli import main

main()
