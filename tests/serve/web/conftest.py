"""One Chromium for all tests of the page; each test has a profile and a server of its own."""

import os
from collections.abc import Iterator

import pytest

from .browser import NAMES, Browser, Page, find_chromium
from .stand_in import Play, serve


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """CASTOR_BROWSER=none leaves these tests out; a browser that is merely missing fails them."""
    if os.environ.get("CASTOR_BROWSER") == "none":
        pytest.skip("CASTOR_BROWSER=none: the chat page is not tested in a browser")
    program = find_chromium()
    if program is None:
        pytest.fail(
            f"no Chromium: none of {', '.join(NAMES)} is on the path. Install one "
            "(apt-get install chromium), or set CASTOR_BROWSER=none to leave these tests out"
        )
    running = Browser(program)
    yield running
    running.close()


@pytest.fixture
def server() -> Iterator[tuple[str, Play]]:
    running, play = serve()
    yield f"http://127.0.0.1:{running.server_address[1]}/", play
    play.models.set()
    running.shutdown()
    running.server_close()


@pytest.fixture
def url(server: tuple[str, Play]) -> str:
    return server[0]


@pytest.fixture
def play(server: tuple[str, Play]) -> Play:
    """What the server was asked, and how it behaves."""
    return server[1]


@pytest.fixture
def blank(browser: Browser) -> Iterator[Page]:
    """A tab that shows nothing yet. Afterwards its console must hold no error."""
    with browser.page() as page:
        yield page
        page.run("1")  # fetches what the console still holds
        assert page.complaints() == []


@pytest.fixture
def page(blank: Page, url: str) -> Page:
    """The chat page, ready, with the model's name on it."""
    blank.open(url)
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    return blank
