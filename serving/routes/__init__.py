"""Dialects over HTTP: each parses a request, calls a verb and renders the answer."""
