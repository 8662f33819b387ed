"""A RabbitMQ for these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rabbitmq import broker, directory_of_run


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The url of a RabbitMQ that all processes of this test run share."""
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url
