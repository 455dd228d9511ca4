"""A server that plays the model from a script: the page's endpoints, and nothing behind them.

As a program, from the folder `tests`: `python -m serve.web.stand_in 8765`.
"""

import json
import mimetypes
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .scenes import Json, error, scene

WEB = Path(__file__).resolve().parents[3] / "castor" / "serve" / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob: data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
MODEL = "castor-demo"
CONTEXT = 256
MODELS = (
    {
        "name": f"models/{MODEL}",
        "displayName": "Castor Demo",
        "description": "7.5M weights, context of 256 tokens",
        "inputTokenLimit": CONTEXT,
        "outputTokenLimit": 128,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 0.8,
        "maxTemperature": 2,
        "topP": 0.95,
        "topK": 40,
        "thinking": True,
    },
    {"name": "models/castor-large", "displayName": "Castor Large", "inputTokenLimit": 32768},
    {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
)


def count(body: Json) -> int:
    """Words, and 64 a medium."""
    body = body.get("generateContentRequest", body)
    contents = [*body.get("contents", ()), body.get("systemInstruction") or {}]
    parts = [part for content in contents for part in content.get("parts", ())]
    media = sum("inlineData" in part or "fileData" in part for part in parts)
    return len(" ".join(part.get("text", "") for part in parts).split()) + 64 * media


@dataclass
class Play:
    """What the server was asked, and how it behaves: a test reads the one and sets the other."""

    delay_s: float = 0.01
    status: str = "ok"
    compiled: float | None = None  # told while the status is another
    queue: int = 0
    models: threading.Event = field(default_factory=threading.Event)  # told once it is set
    list_fails: list[Json] = field(default_factory=list[Json])  # so the next lists are refused
    key: str = ""
    fail_once: Json | None = None  # the next request for an answer is refused with this
    asked: list[Json] = field(default_factory=list)  # bodies of requests for answers
    feedback: list[Json] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    left: int = 0  # readers who went away


def refusal(play: Play, body: Json) -> Json | None:
    """Why a request is not answered, or None."""
    if play.fail_once:
        fault, play.fail_once = play.fail_once, None
        return fault
    tokens = count(body)
    if tokens > CONTEXT:
        return error(
            400,
            "INVALID_ARGUMENT",
            f"The input token count ({tokens}) exceeds the maximum number of tokens allowed "
            f"({CONTEXT}).",
        )
    return None


class Handler(BaseHTTPRequestHandler):
    """One request, answered from `scene`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else what follows the headers waits for 40 ms

    play: Play

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def give(self, value: Json, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        more = {"Content-Length": str(len(data))} | (headers or {})
        self.start(status, "application/json", more)
        self.wfile.write(data)

    def start(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/health":
            self.health()
        elif path == "/v1beta/models":
            if not self.refuse_keyless():
                self.models()
        elif path == "/":
            self.file("index.html")
        elif path.startswith("/web/"):
            self.file(path.removeprefix("/web/"))
        else:
            self.give(error(404, "NOT_FOUND", f"there is no {path}"), 404)

    def health(self) -> None:
        play = self.play
        told: Json = {"status": play.status, "model": MODEL, "queue": play.queue}
        if play.status == "ok":
            self.give(told)
        else:
            self.give(told | ({} if play.compiled is None else {"compiled": play.compiled}), 503)

    def models(self) -> None:
        self.play.models.wait()
        if self.play.list_fails:
            fault = self.play.list_fails.pop(0)
            self.give(fault, fault["error"]["code"])
        else:
            self.give({"models": list(MODELS)})

    def file(self, name: str) -> None:
        found = (WEB / name).resolve()
        if not (found.is_file() and found.is_relative_to(WEB)):
            self.give(error(404, "NOT_FOUND", f"there is no {name}"), 404)
            return
        data = found.read_bytes()
        kind = "text/javascript" if found.suffix == ".js" else mimetypes.guess_type(name)[0]
        length = {"Content-Length": str(len(data))}
        self.start(200, kind or "application/octet-stream", length)
        self.wfile.write(data)

    def refuse_keyless(self) -> bool:
        if not self.play.key or self.headers.get("x-goog-api-key") == self.play.key:
            return False
        message = "API key not valid. Please pass a valid API key."
        self.give(error(400, "INVALID_ARGUMENT", message), 400)
        return True

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/upload/"):
            self.upload(data)
            return
        body = json.loads(data)
        if self.path == "/feedback":
            self.play.feedback.append(body)
            self.give({})
        elif self.refuse_keyless():
            pass
        elif self.path.endswith(":countTokens"):
            self.give({"totalTokens": count(body)})
        elif self.path.endswith(":streamGenerateContent?alt=sse"):
            self.play.asked.append(body)
            self.answer(body)
        else:
            self.give(error(404, "NOT_FOUND", f"there is no {self.path}"), 404)

    def upload(self, data: bytes) -> None:
        number = self.path.partition("upload_id=")[2]
        if not number:
            number = f"up-{len(self.play.uploads)}"
            self.play.uploads[number] = b""
            place = f"http://{self.headers['Host']}{self.path}?upload_id={number}"
            start = {"X-Goog-Upload-URL": place, "X-Goog-Upload-Status": "active"}
            self.give({}, headers=start)
            return
        assert int(self.headers["X-Goog-Upload-Offset"]) == len(self.play.uploads[number])
        self.play.uploads[number] += data
        final = "finalize" in self.headers["X-Goog-Upload-Command"]
        uri = f"https://generativelanguage.googleapis.com/v1beta/files/{number}"
        file = {"name": f"files/{number}", "uri": uri, "state": "ACTIVE"}
        status = {"X-Goog-Upload-Status": "final" if final else "active"}
        self.give({"file": file} if final else {}, headers=status)

    def answer(self, body: Json) -> None:
        fault = refusal(self.play, body)
        if fault:
            self.give(fault, fault["error"]["code"])
            return
        self.start(200, "text/event-stream", {"Connection": "close"})
        made = 0
        try:
            for chunk in scene(body):
                time.sleep(self.play.delay_s)
                made += "candidates" in chunk
                self.event(chunk)
            prompt = count(body)
            usage = {"promptTokenCount": prompt, "candidatesTokenCount": made}
            total = {"totalTokenCount": prompt + made}
            self.event({"usageMetadata": usage | total, "modelVersion": MODEL})
        except (BrokenPipeError, ConnectionResetError):
            self.play.left += 1
        self.close_connection = True

    def event(self, chunk: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")
        self.wfile.flush()


def serve(port: int = 0) -> tuple[ThreadingHTTPServer, Play]:
    """A server that runs until `shutdown()`, and what it was asked."""
    play = Play()
    play.models.set()
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"play": play}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, play


if __name__ == "__main__":
    running, play = serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
    play.delay_s = 0.05
    sys.stdout.write(f"http://127.0.0.1:{running.server_address[1]}/\n")
    sys.stdout.flush()
    threading.Event().wait()
