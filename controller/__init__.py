"""The generic half: reconciles any two keyed topologies. It knows no Matrix, no SQLite, no HTTP."""
