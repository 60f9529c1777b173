"""Other clients, each in a process of its own that times itself, imports left out."""
