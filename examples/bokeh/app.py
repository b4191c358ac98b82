from bokeh.io import curdoc
from bokeh.layouts import column
from bokeh.models import Button, Div
from hello_tornado.sessions.integrations.bokeh import session_of, update_session

document = curdoc()
session = session_of(document)
text = Div()
button = Button(label="Count")

def show(session):
    text.text = f"{session.user_id} has clicked {session.get('clicks', 0)} times"

async def count():
    session = await update_session(document, lambda session: session.increment("clicks"))
    if session is not None:
        show(session)

show(session)
button.on_click(lambda: document.add_next_tick_callback(count))
out = Div(text=f'<a href="{document.session_context.logout_url}">Log out</a>')
document.add_root(column(text, button, out))
document.title = "Counter"
