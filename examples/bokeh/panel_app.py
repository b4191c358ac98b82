import panel as pn
from hello_tornado.sessions.integrations.bokeh import session_of, session_transaction

document = pn.state.curdoc
button = pn.widgets.Button(name="Count")
text = pn.pane.Str(f"{session_of(document).get('clicks', 0)} clicks")

async def count(event):
    async with session_transaction(document) as session:
        session.increment("clicks")
    text.object = f"{session['clicks']} clicks"

button.on_click(count)
pn.Column(f"Hello {session_of(document).user_id}", text, button).servable()
