"""The carriers of signed session ids: cookies and headers, also behind proxies."""
