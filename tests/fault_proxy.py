"""A TCP proxy that breaks things on purpose, between a client and a real server; and a server that only ever answers with S3 errors."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["lose_answer", "cut_request", "cut_answer"]


@dataclass
class FaultProxy:
    """`fault` befalls the first `num_faults` requests of this method: their answer is dropped, or the line dies after 64 KiB up or down."""

    port: int
    method: str
    fault: Fault
    num_faults: int
    num_done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def takes(self, request_start: bytes) -> bool:
        """Whether this request is to fail; counts it if so."""
        with self._lock:
            if not request_start.startswith(self.method.encode() + b" ") or self.num_done >= self.num_faults:
                return False
            self.num_done += 1
            return True


@contextmanager
def fault_proxy(to_port: int, method: str, fault: Fault, num_faults: int) -> Iterator[FaultProxy]:
    """A running proxy to 127.0.0.1:to_port."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = FaultProxy(listener.getsockname()[1], method, fault, num_faults)
    threading.Thread(target=_accept, args=(listener, to_port, proxy), daemon=True).start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, to_port: int, proxy: FaultProxy) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", to_port))
        doomed = threading.Event()  # set while the request under way on this connection is to fail
        for source, sink, pump in ((client, server, _pump_requests), (server, client, _pump_answers)):
            threading.Thread(target=pump, args=(source, sink, proxy, doomed), daemon=True).start()


def _pump_requests(client: socket.socket, server: socket.socket, proxy: FaultProxy, doomed: threading.Event) -> None:
    num_bytes = 0
    for data in _chunks(client):
        if proxy.takes(data):
            doomed.set()
            num_bytes = 0
        num_bytes += len(data)
        if doomed.is_set() and proxy.fault == "cut_request" and num_bytes > 1 << 16:
            break
        if not _send(server, data):
            break
    _close(client, server)


def _pump_answers(server: socket.socket, client: socket.socket, proxy: FaultProxy, doomed: threading.Event) -> None:
    num_bytes = 0
    for data in _chunks(server):
        go_on = data.startswith(b"HTTP/1.1 100")  # the client waits for it before it sends the body
        if doomed.is_set() and not go_on:
            num_bytes += len(data)
            if proxy.fault == "lose_answer" or (proxy.fault == "cut_answer" and num_bytes > 1 << 16):
                break
        if not _send(client, data):
            break
    _close(client, server)


def _chunks(source: socket.socket) -> Iterator[bytes]:
    try:
        while data := source.recv(1 << 14):
            yield data
    except OSError:
        return


def _send(sink: socket.socket, data: bytes) -> bool:
    try:
        sink.sendall(data)
    except OSError:
        return False
    return True


def _close(*sockets: socket.socket) -> None:
    for opened in sockets:
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
        opened.close()


@dataclass
class Switch:
    """A proxy whose connections lead to `to_port`; turned, those there are are cut and new ones lead elsewhere."""

    port: int
    to_port: int
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def turn(self, to_port: int) -> None:
        self.to_port = to_port
        _close(*self._open)
        self._open.clear()


@contextmanager
def switch(to_port: int) -> Iterator[Switch]:
    """A running proxy to 127.0.0.1:to_port, for now."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Switch(listener.getsockname()[1], to_port)
    threading.Thread(target=_accept_switched, args=(listener, proxy), daemon=True).start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept_switched(listener: socket.socket, proxy: Switch) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", proxy.to_port))
        proxy._open += [client, server]
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    for data in _chunks(source):
        if not _send(sink, data):
            break
    _close(source, sink)


@dataclass
class RefusingServer:
    """Answers every request with this S3 error, or only the first `num_refusals`, and then with an empty object."""

    code: str
    status: int
    num_refusals: int
    num_requests: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def refusing_server(code: str, status: int, num_refusals: int) -> Iterator[RefusingServer]:
    """A running server; its error text holds the word canary-secret, which must never be shown."""
    state = RefusingServer(code, status, num_refusals)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            state.num_requests += 1
            if state.num_requests <= state.num_refusals:
                body = f"<Error><Code>{state.code}</Code><Message>canary-secret in StringToSign</Message></Error>".encode()
                self.send_response(state.status)
                self.send_header("x-amz-bucket-region", "eu-west-1")  # S3 says so with a 301
            else:
                body = b""
                self.send_response(200)
                self.send_header("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")  # a body that was never read must not be taken for the next request
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
