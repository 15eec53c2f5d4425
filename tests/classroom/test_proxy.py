"""The proxy between browser and servers: what it adds to the library's."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib import import_module

import pytest
from class_client import PROTOCOL, three_free_ports
from tornado import httpserver, web, websocket

pytest.importorskip("configurable_http_proxy", reason="needs pip install -e '.[class]'")
proxy_module = import_module("medusa_lib.classroom.proxy")
LessonProxy, tls = proxy_module.LessonProxy, proxy_module.tls

MOST = 2**25  # of a message between this test's own ends


class Server(websocket.WebSocketHandler):
    """A server behind the proxy: speaks first, answers in kind, hangs up when told."""

    def select_subprotocol(self, subprotocols):
        return PROTOCOL if PROTOCOL in subprotocols else None

    async def open(self):
        for number in range(20):
            await self.write_message(f"first {number}")

    def on_message(self, message):
        if message == "go":
            return self.close()
        return self.write_message(message, binary=isinstance(message, bytes))


class Page(web.RequestHandler):
    """A page that says what it was asked with."""

    def get(self):
        self.write(dict(self.request.headers))


async def through_proxy(talk, context=None):
    """Run `talk(address)` against a server behind the proxy; context: for TLS."""
    port = three_free_ports()
    server = httpserver.HTTPServer(
        web.Application([("/ws", Server), ("/page", Page)], websocket_max_message_size=MOST)
    )
    server.listen(port, "127.0.0.1")
    proxy = LessonProxy({"auth_token": "x"})
    proxy.add_route("/", {"target": f"http://127.0.0.1:{port}"})
    public = httpserver.HTTPServer(proxy.proxy_app, ssl_options=context)
    public.listen(port + 1, "127.0.0.1")
    try:
        return await asyncio.wait_for(talk(f"127.0.0.1:{port + 1}"), 30)
    finally:
        server.stop()
        public.stop()


def test_a_websocket_speaks_the_servers_protocol_in_text_and_bytes_and_ends_with_it() -> None:
    async def talk(address):
        given = {"subprotocols": ["other", PROTOCOL], "max_message_size": MOST}
        client = await websocket.websocket_connect(f"ws://{address}/ws", **given)
        said = [client.selected_subprotocol]
        said += [await client.read_message() for _ in range(20)]
        for message in ("text", b"\xff\x00bytes", "x" * 11_000_000):
            await client.write_message(message, binary=isinstance(message, bytes))
            said.append(await client.read_message() == message)
        await client.write_message("go")
        return [*said, await client.read_message()]

    said = asyncio.run(through_proxy(talk))
    assert said[0] == PROTOCOL
    assert said[1:21] == [f"first {number}" for number in range(20)]
    assert said[21:] == [True, True, True, None]


def test_a_browser_without_a_protocol_is_given_none() -> None:
    async def talk(address):
        client = await websocket.websocket_connect(f"ws://{address}/ws")
        return client.selected_subprotocol

    assert asyncio.run(through_proxy(talk)) is None


async def ask_page(address, scheme="http", context=None):
    """What the server behind the proxy was asked with."""

    def ask():
        given = {"timeout": 20, "context": context}
        with urllib.request.urlopen(f"{scheme}://{address}/page", **given) as reply:
            return json.loads(reply.read())

    return await asyncio.to_thread(ask)


def test_the_server_learns_how_the_browser_came() -> None:
    assert asyncio.run(through_proxy(ask_page))["X-Forwarded-Proto"] == "http"


def test_with_a_certificate_it_encrypts(tmp_path) -> None:
    certipy = pytest.importorskip("certipy", reason="needs pip install -e '.[class]'")
    maker = certipy.Certipy(store_dir=str(tmp_path))
    authority = maker.create_ca("ca")["files"]["cert"]
    files = maker.create_signed_pair("here", "ca", alt_names=["IP:127.0.0.1"])["files"]
    theirs = ssl.create_default_context(cafile=authority)

    async def talk(address):
        return await ask_page(address, "https", theirs)

    context = tls(files["cert"], files["key"])
    assert asyncio.run(through_proxy(talk, context))["X-Forwarded-Proto"] == "https"


def test_times_have_their_zone() -> None:
    proxy = LessonProxy({"auth_token": "x"})
    proxy.add_route("/a", {"target": "http://127.0.0.1:1"})
    proxy.update_last_activity("/a")
    when = proxy.get_route("/a")["last_activity"]
    assert when.tzinfo
    assert abs(when - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=5)


def test_its_orders_need_the_secret() -> None:
    port = three_free_ports()
    command = [sys.executable, "-m", "medusa_lib.classroom.proxy"]
    command += [f"--port={port}", f"--api-port={port + 1}"]
    env = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": "right"}
    proxy = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        found = {}
        for token in ("right", "wrong"):
            given = {"Authorization": f"token {token}"}
            request = urllib.request.Request(
                f"http://127.0.0.1:{port + 1}/api/routes", headers=given
            )
            found[token] = status_of(request)
        assert found == {"right": 200, "wrong": 403}
    finally:
        proxy.kill()
        proxy.wait()


def status_of(request):
    """The status of a reply, once somebody answers."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.1)
    return None
