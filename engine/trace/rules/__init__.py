"""Diagnostic rules, one file a category (or part of one): each states `RULES`, a tuple of `Rule` values."""
