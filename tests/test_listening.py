"""Which hosts are this machine's alone, and what is said of a port that cannot be listened on."""

from __future__ import annotations

import socket

import pytest

from workbench.address import is_own_machine
from workbench.api.settings import Settings
from workbench.dashboard.server import options
from workbench.errors import ConfigError, UnavailableError
from workbench.listening import check_port, is_loopback

LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"]
BEYOND = {
    "all addresses": "",
    "all of IPv4": "0.0.0.0",
    "all of both": "::",
    "all of IPv4, as IPv6 writes it": "::ffff:0.0.0.0",
    "another machine": "192.0.2.1",
    "another machine, as IPv6 writes it": "::ffff:192.0.2.1",
    "just below 127.0.0.0": "126.255.255.255",
    "just above 127.255.255.255": "128.0.0.0",
    "a neighbour": "fe80::1",
    "a name that starts with 127.": "127.0.0.1.example.com",
    "a shorter one": "127.example.com",
    "a name that starts with localhost": "localhost.example.com",
    "what a name server may be asked for": "localhost.",
    "in brackets": "[::1]",
    "with a port": "127.0.0.1:8000",
    "abbreviated": "127.1",
    "octal": "0177.0.0.1",
    "one number": "2130706433",
    "with a blank": " 127.0.0.1",
    "with a line end": "127.0.0.1\n",
    "with a zero byte": "localhost\0.example.com",
    "digits of another script": "١27.0.0.1",
}


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_host_of_this_machine_alone_is_loopback(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("what", BEYOND)
def test_any_other_is_not(what: str):
    assert not is_loopback(BEYOND[what])


def test_every_door_goes_by_it(tmp_path):
    for host in LOOPBACK:
        written = f"[{host}]" if ":" in host else host
        assert is_own_machine(f"http://{written}:8000")
        assert Settings(tmp_path, host=host).host == host
        assert options(host, 8501)["server.allowedHosts"]
    for host in ("0.0.0.0", "192.0.2.1", "127.0.0.1.example.com", "localhost."):
        assert not is_own_machine(f"http://{host}:8000")
        with pytest.raises(ConfigError, match="host must be a loopback address"):
            Settings(tmp_path, host=host)
        assert not options(host, 8501)["server.allowedHosts"]
    assert not is_own_machine("http:///path") and not is_own_machine("http://127.0.0.1@192.0.2.1/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_a_port_is_refused_while_it_is_taken_and_only_then(host: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as caught:
            check_port(host, port)
    assert str(caught.value) == (
        f"port {port} of {host or 'all addresses'} cannot be listened on: Address already in use; choose another with --port"
    )
    check_port(host, port)
    check_port(host, port)  # it lets go of what it tried


@pytest.mark.parametrize("host", ["192.0.2.1", "name.invalid", "a..b", "x" * 64, "\udcff", "a\nb", "[::1]"])
def test_a_host_that_is_not_this_machine_is_one_line(host: str):
    with pytest.raises(UnavailableError) as caught:
        check_port(host, 8501)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("port 8501 of ") and "cannot be listened on: " in str(caught.value)
