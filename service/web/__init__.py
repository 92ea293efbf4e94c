"""Serves HTTP: the application, its server, the API, the page."""
