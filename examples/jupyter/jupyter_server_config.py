def may_log_in(name, password):
    return name if (name, password) in {("ada", "lovelace"), ("grace", "hopper")} else None

c = get_config()
c.ServerApp.identity_provider_class = (
    "hello_tornado.sessions.integrations.jupyter.SessionIdentityProvider"
)
c.SessionIdentityProvider.sessions = "sqlite:///sessions.db"
c.SessionIdentityProvider.may_log_in = may_log_in
