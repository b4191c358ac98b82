import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

async def make_report(manager, handle):
    report = await asyncio.sleep(0.3, "42 pages")
    async with manager.transaction(handle) as session:
        session["report"] = report

class Report(SessionHandler):
    def get(self):
        self.write(self.session.get("report", "none yet"))

    async def post(self):
        self.session["report"] = "in the making"
        handle = await self.save_session()
        asyncio.create_task(make_report(self.session_manager, handle))

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/", Report)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())
