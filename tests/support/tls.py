"""TLS between a server and a client that trusts it."""

from __future__ import annotations

import ssl

import pytest

trustme = pytest.importorskip("trustme")


def make_contexts():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


SERVER, CLIENT = make_contexts()
