import asyncio
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler
from hello_tornado.sessions import SessionDoor, SessionManager

SECRET = "a long random text of yours, from the environment"

class Home(RequestHandler):
    def initialize(self, door):
        self.door = door

    async def get(self):
        session = await self.door.open(self)
        self.write(f"Visit {session.increment('visits')}")
        await self.door.save(self, session)

class Socket(WebSocketHandler):
    def initialize(self, door):
        self.door = door

    async def prepare(self):
        self.session = await self.door.open(self)

    def open(self):
        self.door.watch(self, self.session)
        self.write_message(f"You were here {self.session.get('visits', 0)} times")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        door = {"door": SessionDoor(manager, cookie_secret=SECRET)}
        Application([("/", Home, door), ("/ws", Socket, door)]).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())
