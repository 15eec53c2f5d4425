"""The one address that browsers see: each request goes to the hub or to a learner's server.

The PyPI package configurable-http-proxy does the work. What it lacks for JupyterLab is added here:
a kernel's websocket speaks the protocol that server and browser agree on, in bytes where it
should, loses none of its first messages and closes when the server does (without that no cell runs
in a browser), requests may take long and be many, replies may be large, and TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import logging
import os
import ssl
from pathlib import Path

from configurable_http_proxy.configproxy import PythonProxy
from configurable_http_proxy.handlers import ProxyHandler
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    websocket_connect,
)

MOST_AT_ONCE = 2_000  # requests; the library's own limit is ten
MOST_SECONDS = 600.0  # of a request; the library's own limit is twenty
MOST_BYTES = 200 * 2**20  # of a request, a reply or a message; a notebook with pictures is large
TOKEN_VARIABLE = "CONFIGPROXY_AUTH_TOKEN"
NOT_PASSED_ON = ("Sec-Websocket-Extensions",)  # compression, which is agreed on hop by hop


class LessonProxyHandler(ProxyHandler):
    """One request of a browser."""

    async def start_ws_client(self, path: str | None = None) -> None:
        """Connect to the learner's server, before the browser is told that all is well."""
        url = await self.get_target_url(path)
        if url is None:
            return
        request = self._get_proxy_request(url.replace("http", "ws", 1))
        try:
            self.ws_client = await websocket_connect(request, max_message_size=MOST_BYTES)
        except HTTPClientError as error:
            self.set_status(error.code)
            self.finish(str(error.message))
        except OSError as error:
            await self.handle_proxy_error(503, error)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """What the learner's server chose of that which the browser offers."""
        chosen = getattr(self.ws_client, "selected_subprotocol", None)
        return chosen if chosen in subprotocols else None

    def open(self, *_: str, **__: str) -> None:
        """From now on the server's messages go to the browser; none was lost until now."""
        self.pump = asyncio.ensure_future(self.pass_on(self.ws_client))

    async def pass_on(self, client: WebSocketClientConnection) -> None:
        """Pass on the server's messages until one of the two hangs up, and then hang up."""
        with contextlib.suppress(WebSocketClosedError):
            while (message := await client.read_message()) is not None:
                self.proxy.update_last_activity(self.target["prefix"])
                await self.write_message(message, binary=isinstance(message, bytes))
        self.close()

    async def on_message(self, message: str | bytes) -> None:
        """Pass on a message of the browser's, as text or as bytes, as it came."""
        if self.ws_client:
            self.proxy.update_last_activity(self.target["prefix"])
            with contextlib.suppress(WebSocketClosedError):
                await self.ws_client.write_message(message, binary=isinstance(message, bytes))

    def _get_proxy_request(self, url: str) -> HTTPRequest:
        """The request as it is passed on; says truly whether the browser's was encrypted."""
        request = super()._get_proxy_request(url)
        for name in NOT_PASSED_ON:
            request.headers.pop(name, None)
        before = self.request.headers.get("X-Forwarded-Proto")
        request.headers["x-forwarded-proto"] = before or self.request.protocol
        request.headers.pop("X-Forwarded-Proto", None)
        return request


class LessonProxy(PythonProxy):
    """The table of which path leads where; the hub writes it."""

    def __init__(self, options: dict[str, object]) -> None:
        super().__init__(options)
        handlers = [(r"/(.*)", LessonProxyHandler, {"proxy": self})]
        self.proxy_app = Application(handlers, websocket_max_message_size=MOST_BYTES)

    def update_last_activity(self, prefix: str) -> object:
        """Note when a path was last used, with its time zone: the hub takes bare times for UTC."""
        if self._routes.get(prefix):
            now = datetime.datetime.now(datetime.UTC)
            return self._routes.update(prefix, {"last_activity": now})
        return None


def tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What a server needs to encrypt; None without a certificate."""
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.classroom.proxy")
    parser.add_argument("--ip", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="where browsers go")
    parser.add_argument("--api-port", type=int, required=True, help="where the hub gives orders")
    parser.add_argument("--error-target", help="the hub's pages for errors")
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    return parser.parse_args(argv)


async def run_proxy(args: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    AsyncHTTPClient.configure(
        "tornado.simple_httpclient.SimpleAsyncHTTPClient",
        max_clients=MOST_AT_ONCE,
        max_body_size=MOST_BYTES,
        max_buffer_size=MOST_BYTES,
        defaults={"request_timeout": MOST_SECONDS},
    )
    options = {"auth_token": os.environ[TOKEN_VARIABLE], "error_target": args.error_target}
    proxy = LessonProxy(options)
    size = {"max_buffer_size": MOST_BYTES, "max_body_size": MOST_BYTES}
    public = HTTPServer(proxy.proxy_app, ssl_options=tls(args.cert, args.key), **size)
    public.listen(args.port, args.ip)
    HTTPServer(proxy.api_app).listen(args.api_port, "127.0.0.1")
    await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Run the proxy; the secret that the hub shows it is in the environment."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("configurable_http_proxy").setLevel(logging.WARNING)
    asyncio.run(run_proxy(parse(argv)))


if __name__ == "__main__":
    main()
