"""Everything that is HTTP: the application, its server, the API, the page."""
