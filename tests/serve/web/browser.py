"""Chromium, driven over the DevTools protocol with the standard library and `websockets`."""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--mute-audio",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
    "Backspace": (8, ""),
    " ": (32, " "),
}
PATIENCE_S = 15.0


def find_chromium() -> str | None:
    """Where a Chromium is, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab in a profile of its own. Every wait gives up after PATIENCE_S."""

    numbers = itertools.count(1)

    def __init__(self, socket: ClientConnection, session: str | None) -> None:
        self.socket, self.session = socket, session
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result; events that come meanwhile are kept."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        self.socket.send(json.dumps(command))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            if message.get("sessionId") == self.session and "method" in message:
                self.events.append(message)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        wanted = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=expression, **wanted)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until the expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.run(f"Boolean({expression})"):
                return
            time.sleep(0.03)
        raise AssertionError(f"never true: {expression}\n{self.complaints()}")

    def open(self, url: str) -> None:
        """Goes to a page and waits until it can be used."""
        self.call("Page.navigate", url=url)
        self.ready()

    def reload(self) -> None:
        """Loads the page anew."""
        self.run("delete document.documentElement.dataset.ready")
        self.call("Page.reload")
        self.ready()

    def ready(self) -> None:
        self.until("document.documentElement?.dataset.ready === 'true'")

    def click(self, selector: str) -> None:
        """Clicks the middle of the first element, with the mouse."""
        quoted = json.dumps(selector)
        self.until(f"document.querySelector({quoted})")
        self.run(f"document.querySelector({quoted}).scrollIntoView({{block: 'nearest'}})")
        box = "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        x, y = self.run(f"{box}(document.querySelector({quoted}).getBoundingClientRect())")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def type(self, text: str) -> None:
        """Writes where the cursor is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, ctrl: bool = False, shift: bool = False) -> None:
        """Presses a key: a name of KEYS, or one character."""
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
        held = 2 * ctrl + 8 * shift
        more = {"key": key, "windowsVirtualKeyCode": code, "modifiers": held}
        typed = {"text": text} if text and not ctrl else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **more, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def say(self, text: str) -> None:
        """Writes a message and sends it with Enter."""
        self.run("document.getElementById('ask').focus()")
        self.type(text)
        self.press("Enter")

    def attach(self, *paths: Path) -> None:
        """Chooses files in the message box's file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        selector = "#composer input[type=file]"
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def resize(self, width: int, height: int = 900, *, touch: bool = False) -> None:
        """The window's size in CSS pixels; `touch` makes it a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, **features: str) -> None:
        """Media features, for example `prefers_color_scheme="dark"`."""
        pairs = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def picture(self, path: Path) -> None:
        """Keeps what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def idle(self) -> None:
        """Waits until no answer is on its way."""
        log = "document.getElementById('transcript')"
        self.until(
            f"{log}.getAttribute('aria-busy') === 'false' && !document.querySelector('.busy')"
        )

    def ask(self, text: str) -> str:
        """Says something and gives the text of the answer."""
        self.say(text)
        self.until("document.querySelector('.turn.model:last-of-type')")
        self.idle()
        return self.text(".turn.model:last-of-type .turn-body")

    def text(self, selector: str) -> str:
        """What the first element shows; empty lines are left out."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        shown = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return re.sub(r"\n+", "\n", shown).strip()

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return self.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def complaints(self) -> list[str]:
        """What the console holds of errors: exceptions, refusals of the security policy."""
        found: list[str] = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] == "error" and entry["source"] != "network":
                    found.append(entry["text"])
        return found


class Browser:
    """A running Chromium; `page()` opens a tab whose storage no other tab sees."""

    def __init__(self, program: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="castor-browser-")
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = (program, *FLAGS, *sandbox, f"--user-data-dir={self.folder}", "about:blank")
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        found = Path(self.folder) / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (found.exists() and found.read_text().strip()):
            assert time.monotonic() < deadline, f"{program} did not start"
            assert self.process.poll() is None, f"{program} ended with {self.process.returncode}"
            time.sleep(0.05)
        port = found.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version") as reply:
            self.address = json.load(reply)["webSocketDebuggerUrl"]

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A fresh tab on its own connection; afterwards it and its storage are gone."""
        with connect(self.address, max_size=None, compression=None) as socket:
            root = Page(socket, None)
            context = root.call("Target.createBrowserContext", disposeOnDetach=True)
            profile = {"browserContextId": context["browserContextId"]}
            target = root.call("Target.createTarget", url="about:blank", **profile)
            attached = root.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page = Page(socket, attached["sessionId"])
            for domain in ("Page", "Runtime", "Log", "DOM"):
                page.call(f"{domain}.enable")
            page.resize(1200)
            yield page

    def close(self) -> None:
        """Ends the program and removes its profile."""
        self.process.terminate()
        self.process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)
