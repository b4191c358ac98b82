"""Sessions in Tornado: request handlers, WebSockets and account pages."""
