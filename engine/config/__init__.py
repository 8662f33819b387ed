"""Configuration: one document, the environment above it, the command line above that."""

from engine.config.document import Config, Plan
from engine.config.fields import fields, redacted
from engine.config.loading import (
    Change,
    ConfigError,
    Loaded,
    Problem,
    auth_required,
    check,
    difference,
    environment_name,
    jwt_algorithm,
    load,
    load_environment,
    parse,
)

__all__ = [
    "Change", "Config", "ConfigError", "Loaded", "Plan", "Problem", "auth_required", "check", "difference", "environment_name",
    "fields", "jwt_algorithm", "load", "load_environment", "parse", "redacted",
]  # fmt: skip
