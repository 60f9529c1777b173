"""The rules of docs/how-it-decides.md, a room each; `adapter.matrix.topology` puts them together."""
