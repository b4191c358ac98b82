import os
from hello_tornado.sessions.integrations.bokeh import BokehSessions

def may_log_in(name, password):
    return name if (name, password) in {("ada", "lovelace"), ("grace", "hopper")} else None

url, secret = "sqlite:///sessions.db", os.environ["SESSION_SECRET"]
sessions = BokehSessions(url, cookie_secret=secret, may_log_in=may_log_in)
get_user_async = sessions.get_user_async
login_url, LoginHandler = sessions.login_url, sessions.LoginHandler
logout_url, LogoutHandler = sessions.logout_url, sessions.LogoutHandler
