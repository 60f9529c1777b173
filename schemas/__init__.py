"""The contracts, as JSON Schema files, and the one way to ask whether data keeps them."""

from schemas.validation import NAMES, Problem, problems, schema

__all__ = ["NAMES", "Problem", "problems", "schema"]
