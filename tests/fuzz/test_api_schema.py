"""Schema-driven fuzzing of every operation: no 5xx, and no answer that the OpenAPI document does not declare."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.running import Running, server

EXAMPLES = 25
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server(TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_PLANS_SELF_HOSTED_CALLS_PER_DAY="1000000", STT_QUEUE_PURGE_TOKEN="nobody knows it") as started:
        yield started


@pytest.mark.slow
def test_every_operation_keeps_to_the_document(running: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    headers = {"Authorization": f"Bearer {running.key}"}
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.add(f"{operation.method.upper()} {operation.path}")

        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy())
        def tried(case: schemathesis.Case) -> None:
            response = case.call(headers=headers, timeout=30)
            case.validate_response(response, checks=CHECKS)

        tried()
    assert {"POST /v1/analyze", "GET /v1/keys", "POST /v1/keys/generate", "DELETE /v1/keys/revoke"} <= seen
