from collections.abc import Iterator

import pytest

from tests.hub.standin import TOKEN, Hub, running_hub
from workbench.models import AllowedHost


@pytest.fixture
def hub(db: None, settings) -> Iterator[Hub]:
    """A hub on loopback that workers may ask, over http as in development."""
    with running_hub() as hub:
        settings.DEBUG = True
        settings.HUB_URL = hub.main.url
        settings.HUB_TOKEN = TOKEN
        settings.PRIVATE_HOSTS = [hub.main.name, hub.cdn.name]
        for server in (hub.main, hub.cdn):
            AllowedHost.objects.create(name=server.name)
        yield hub
