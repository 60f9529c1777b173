"""Matrix: facts and identity (pure), render (pure), and the edges that read and write."""
