"""How a signed id travels: in a cookie or in a header, through proxies."""
