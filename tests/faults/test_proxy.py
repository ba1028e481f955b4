"""The fault proxy does to a connection what it is told, where it is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgesdk.testing.fault_proxy import FaultProxy

SENT = bytes(range(256)) * 400  # 100 KiB


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets, to one client at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_echo, args=(listener,))
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _echo(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            try:
                while piece := client.recv(65536):
                    client.sendall(piece)
            except OSError:
                continue


def exchange(proxy: FaultProxy) -> tuple[bytes, float]:
    """What comes back of what is sent, and after how many seconds the last of it did."""
    received, began = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        sending = threading.Thread(target=_send, args=(client,))
        sending.start()
        try:
            while len(received) < len(SENT) and (piece := client.recv(65536)):
                received += piece
        except ConnectionResetError:
            pass
        elapsed = time.monotonic() - began
        sending.join()
    return received, elapsed


def _send(client: socket.socket) -> None:
    try:
        client.sendall(SENT)
    except OSError:
        return


def test_it_passes_everything_on(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo) as proxy:
        received, _ = exchange(proxy)
    assert received == SENT
    assert (proxy.accepted, proxy.moved_bytes, proxy.moved_bytes_down) == (1, *[len(SENT)] * 2)


@pytest.mark.parametrize("after", [1, 5000, 99_999])
def test_it_cuts_after_so_many_bytes(echo: tuple[str, int], after: int) -> None:
    with FaultProxy(*echo, cut_after_bytes=after) as proxy:
        received, _ = exchange(proxy)
        assert proxy.moved_bytes == after
    assert SENT.startswith(received) and len(received) <= after


@pytest.mark.parametrize("after", [1, 5000, 99_999])
def test_it_cuts_after_so_many_bytes_down(echo: tuple[str, int], after: int) -> None:
    with FaultProxy(*echo, cut_after_bytes_down=after) as proxy:
        received, _ = exchange(proxy)
        assert proxy.moved_bytes_down == after
    assert SENT.startswith(received) and len(received) <= after


def test_it_stalls_and_goes_on(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo, stall_after_bytes=50_000, stall_s=0.5) as proxy:
        received, elapsed = exchange(proxy)
    assert received == SENT
    assert 0.5 < elapsed < 5


def test_it_is_far_away(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo, latency_s=0.2) as proxy:
        received, elapsed = exchange(proxy)
    assert received == SENT
    assert 0.4 < elapsed < 5


def test_it_is_slow(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo, bytes_per_second=200_000) as proxy:
        received, elapsed = exchange(proxy)
    assert received == SENT
    assert len(SENT) / 200_000 * 0.9 < elapsed < 5


def test_only_the_first_connections_suffer(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo, cut_after_bytes=1000, faulty_connections=1) as proxy:
        assert len(exchange(proxy)[0]) <= 1000
        assert exchange(proxy)[0] == SENT
