"""What stands between Parqueduct and its surroundings, so that they can fail on demand: a proxy before the object store, one
before the broker, and a receiver of what Alertmanager sends. And those of its surroundings that only answer: a schema registry, a
collector of traces.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Served:
    """An HTTP server of a thread of its own, on a free port of this machine."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.owner = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: bytes = b"", headers: list[tuple[str, str]] = ()) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# The object store


class Store(Served):
    """Passes requests on to the store at `address`, but for what `fault` makes of them.

    `fault` is asked about each request, by method and path, and says: None, pass it on; "gone", hang up without a word;
    "busy", 503; "denied", 403; a number, pass it on that many seconds later. `after` is told of each answer before it is given.
    """

    def __init__(self, address: str):
        self.behind = address
        self.fault: Callable[[str, str], str | float | None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, path: None
        # moto answers 500 when it lists what another request removes meanwhile.
        self.lists_or_removes = threading.Lock()
        super().__init__(StoreRequest)


class StoreRequest(Quiet):
    def pass_on(self) -> None:
        store, body = self.server.owner, self.body()
        verdict = store.fault(self.command, self.path)
        if verdict == "gone":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        if verdict in ("busy", "denied"):
            status, text = (503, BUSY) if verdict == "busy" else (403, DENIED)
            return self.answer(status, b"" if self.command == "HEAD" else text, [("Content-Type", "application/xml")])
        if verdict:
            time.sleep(verdict)
        behind = http.client.HTTPConnection(store.behind, timeout=60)
        try:
            clashes = self.command == "DELETE" or "list-type=" in self.path
            with store.lists_or_removes if clashes else contextlib.nullcontext():
                behind.request(self.command, self.path, body, dict(self.headers.items()))
                got = behind.getresponse()
                answer = got.read()
            headers = [(name, value) for name, value in got.getheaders() if is_passed(name)]
        except OSError:
            self.close_connection = True
            return
        finally:
            behind.close()
        store.after(self.command, self.path)
        # Whoever asked may have lost patience.
        with contextlib.suppress(OSError):
            self.answer(got.status, answer, headers)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815


def is_passed(header: str) -> bool:
    return header.lower() not in ("connection", "transfer-encoding", "server", "date", "keep-alive")


# The broker


class Broker:
    """Passes connections on to the broker at `port`. `cut` ends those that are open; new ones are taken."""

    def __init__(self, port: int):
        self.behind = port
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.behind), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self.lock:
                self.open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        self.end(source, sink)

    def end(self, *sockets: socket.socket) -> None:
        with self.lock:
            self.open -= set(sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        with self.lock:
            found = list(self.open)
        self.end(*found)

    def close(self) -> None:
        self.listener.close()
        self.cut()


# Who is notified


class Receiver(Served):
    """Takes what Alertmanager sends to its receivers; the path of a request is the receiver's name."""

    def __init__(self):
        # When it came, to whom, and the alert as Alertmanager sent it.
        self.told: list[tuple[float, str, dict]] = []
        super().__init__(Notification)


class Notification(Quiet):
    def do_POST(self) -> None:  # noqa: N802
        now, sent = time.time(), json.loads(self.body())
        self.server.owner.told += [(now, self.path.strip("/"), alert) for alert in sent["alerts"]]
        self.answer(200)


# Who is asked for schemas, and told of flushes


class Registry(Served):
    """Knows one schema, by the id 1, and says so as a Confluent-compatible registry does."""

    def __init__(self, schema: str):
        self.schema = schema
        super().__init__(SchemaRequest)


class SchemaRequest(Quiet):
    def do_GET(self) -> None:  # noqa: N802
        known = {
            "/schemas/ids/1": {"schemaType": "JSON", "schema": self.server.owner.schema},
            "/schemas/ids/1/subjects": ["flights-value"],
        }
        found = known.get(self.path.split("?")[0])
        status, found = (200, found) if found else (404, {"error_code": 40403, "message": "Schema not found"})
        self.answer(status, json.dumps(found).encode(), [("Content-Type", "application/json")])


class Collector(Served):
    """Takes spans over OTLP, and keeps none."""

    def __init__(self):
        super().__init__(Export)


class Export(Quiet):
    def do_POST(self) -> None:  # noqa: N802
        self.body()
        self.answer(200, b"", [("Content-Type", "application/x-protobuf")])
