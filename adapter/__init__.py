"""The Matrix half: what observes a homeserver, keeps the cache and talks to people."""
