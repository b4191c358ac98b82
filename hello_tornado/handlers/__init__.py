"""The request handlers of the server, one file for each purpose."""
