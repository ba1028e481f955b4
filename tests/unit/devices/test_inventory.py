from __future__ import annotations

import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Address, Device, host_key_fingerprint, parse_address
from edgesdk.errors import HostKeyMismatch, MalformedFile, UnknownDevice, UsageError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
KEY_FINGERPRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILJm5T2tCoqvnzMvFjoTKvtcOHZpMj7gvPJQXpd9eiX2"

PI = Device(
    name="kitchen-pi",
    host="192.168.1.20",
    port=22,
    user="pi",
    target="raspberry-pi-5",
    host_key=KEY,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "devices.json"


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("pi@kitchen", Address("pi", "kitchen", 22)),
            ("pi@kitchen.local:2222", Address("pi", "kitchen.local", 2222)),
            ("pi@10.0.0.7", Address("pi", "10.0.0.7", 22)),
            ("pi@[::1]", Address("pi", "::1", 22)),
            ("pi@[fe80::1%eth0]:22", Address("pi", "fe80::1%eth0", 22)),
            ("a.b-c_d@h:1", Address("a.b-c_d", "h", 1)),
        ],
    )
    def test_reads(self, text: str, expected: Address) -> None:
        assert parse_address(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "kitchen",
            "@kitchen",
            "pi@",
            "pi@:22",
            "pi@kitchen:",
            "pi@kitchen:ssh",
            "pi@kitchen:0",
            "pi@kitchen:65536",
            "pi@kitchen:22 ",
            "pi@-oProxyCommand=boo",
            "-l@kitchen",
            "pi@kit chen",
            "pi@kitchen\n",
            "pi@kitchen\nx",
            "p i@kitchen",
            "pi@@kitchen",
            "pi@::1",
            "pi@[::1",
            "pi@[::1]22",
            "pi@[kitchen;]",
            "pi@$(boo)",
            "pi@kitchen:٢٢",
        ],
    )
    def test_refuses(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_address(text)

    @given(
        st.from_regex(r"[a-z_][a-z0-9_-]{0,30}", fullmatch=True),
        st.one_of(
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,60}", fullmatch=True),
            st.ip_addresses().map(str),
        ),
        st.integers(1, 65535),
    )
    def test_what_is_written_is_read_back(self, user: str, host: str, port: int) -> None:
        address = Address(user, host, port)
        assert parse_address(str(address)) == address

    @given(st.one_of(st.text(max_size=20), st.text("pi@[]:- \n%0\x00", max_size=12)))
    def test_any_text_is_an_address_or_a_usage_error(self, text: str) -> None:
        try:
            address = parse_address(text)
        except UsageError:
            return
        assert not address.host.startswith("-")
        assert not re.search(r"\s", address.host + address.user)


class TestHostKey:
    def test_fingerprint_is_the_one_ssh_keygen_shows(self) -> None:
        assert host_key_fingerprint(KEY) == KEY_FINGERPRINT

    @pytest.mark.parametrize(
        "line", ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-rsa " + KEY.split()[1], " AAAA"]
    )
    def test_refuses_what_is_no_key(self, line: str) -> None:
        with pytest.raises(UsageError, match="expected a type"):
            host_key_fingerprint(line)


class TestDevice:
    @pytest.mark.parametrize("name", ["", "-pi", ".pi", "a b", "a/b", "../a", "a\n", "ü"])
    def test_refuses_a_name(self, name: str) -> None:
        with pytest.raises(UsageError, match="expected letters"):
            replace(PI, name=name)

    @pytest.mark.parametrize("name", ["a", "0", "kitchen-pi_2.local"])
    def test_takes_a_name(self, name: str) -> None:
        assert replace(PI, name=name).name == name


class TestInventory:
    def test_is_empty_before_the_first_device(self, path: Path) -> None:
        assert inventory.load(path) == ()

    def test_keeps_every_field(self, path: Path) -> None:
        full = replace(PI, identity_file="~/.ssh/board", python="/opt/bin/python3.9", kind="python")
        inventory.add(path, full)
        assert inventory.get(path, PI.name) == full

    def test_lists_by_name(self, path: Path) -> None:
        for name in ("b", "c", "a"):
            inventory.add(path, replace(PI, name=name))
        assert [device.name for device in inventory.load(path)] == ["a", "b", "c"]

    def test_an_unknown_name_suggests_the_nearest(self, path: Path) -> None:
        inventory.add(path, PI)
        with pytest.raises(UnknownDevice, match="did you mean 'kitchen-pi'") as caught:
            inventory.get(path, "kichen-pi")
        assert "edgesdk device ls" in caught.value.hint

    def test_removes(self, path: Path) -> None:
        inventory.add(path, PI)
        assert inventory.remove(path, PI.name) == PI
        assert inventory.load(path) == ()
        with pytest.raises(UnknownDevice):
            inventory.remove(path, PI.name)

    def test_the_same_device_again_is_fine(self, path: Path) -> None:
        inventory.add(path, PI)
        inventory.add(path, PI)
        assert inventory.load(path) == (PI,)

    @pytest.mark.parametrize(
        ("change", "named", "detail"),
        [
            ({"host": "10.0.0.9"}, "address", "enrolled pi@192.168.1.20, given pi@10.0.0.9"),
            ({"port": 23}, "address", "given pi@192.168.1.20:23"),
            ({"user": "root"}, "address", "given root@192.168.1.20"),
            ({"target": "jetson"}, "target", "enrolled raspberry-pi-5, given jetson"),
            ({"python": "/opt/python"}, "python", "enrolled python3, given /opt/python"),
            ({"identity_file": "/key"}, "identity", "enrolled (none), given /key"),
            ({"kind": "sshd"}, "kind", "enrolled board, given sshd"),
            ({"port": 23, "host_key": OTHER_KEY}, "address, host key", KEY_FINGERPRINT),
        ],
        ids=str,
    )
    def test_another_device_needs_replace(
        self, path: Path, change: dict[str, Any], named: str, detail: str
    ) -> None:
        inventory.add(path, PI)
        other = replace(PI, **change)
        with pytest.raises(UsageError) as caught:
            inventory.add(path, other)
        assert caught.value.message == f"kitchen-pi is enrolled already, with another {named}"
        assert detail in "\n".join(caught.value.details)
        assert "--replace" in caught.value.hint
        assert inventory.load(path) == (PI,)
        inventory.add(path, other, replace=True)
        assert inventory.load(path) == (other,)

    def test_another_key_needs_replace(self, path: Path) -> None:
        inventory.add(path, PI)
        other = replace(PI, host_key=OTHER_KEY)
        with pytest.raises(HostKeyMismatch) as caught:
            inventory.add(path, other)
        assert KEY_FINGERPRINT in str(caught.value)
        assert host_key_fingerprint(OTHER_KEY) in str(caught.value)
        assert inventory.get(path, PI.name) == PI
        inventory.add(path, other, replace=True)
        assert inventory.get(path, PI.name) == other

    def test_a_name_twice_is_not_saved(self, path: Path) -> None:
        with pytest.raises(UsageError, match="twice"):
            inventory.save(path, [PI, PI])

    def test_adding_from_many_processes_loses_nothing(self, path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        names = [f"device-{number}" for number in range(4)]
        workers = [spawn.Process(target=_add_five, args=(path, name)) for name in names]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(inventory.load(path)) == 20

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"host": "-oProxyCommand=boo"}, "expected a host name"),
            ({"port": 0}, "expected 1 to 65535"),
            ({"port": "22"}, "expected int"),
            ({"host_key": "none"}, "expected a type and"),
            ({"colour": "red"}, "unknown key colour"),
            ({"identity_file": 3}, "3"),
        ],
    )
    def test_a_file_edited_into_nonsense_is_refused(
        self, path: Path, change: dict[str, object], problem: str
    ) -> None:
        inventory.add(path, PI)
        stored = json.loads(path.read_text())
        stored["devices"][0].update(change)
        path.write_text(json.dumps(stored))
        with pytest.raises(MalformedFile, match=problem):
            inventory.load(path)

    def test_a_future_format_is_refused(self, path: Path) -> None:
        inventory.add(path, PI)
        stored = json.loads(path.read_text())
        path.write_text(json.dumps({**stored, "format": 2, "novelty": []}))
        kept = path.read_bytes()
        for use in (lambda: inventory.load(path), lambda: inventory.add(path, PI)):
            with pytest.raises(MalformedFile, match="newer edgesdk: found inventory format 2, exp"):
                use()
        assert path.read_bytes() == kept

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"\xff\xfe", b"SQLite format 3\0", b"null"]
    )
    def test_a_damaged_or_foreign_file_says_what_to_do_and_is_left_alone(
        self, path: Path, content: bytes
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        for use in (lambda: inventory.load(path), lambda: inventory.add(path, PI)):
            with pytest.raises(MalformedFile, match=path.name) as raised:
                use()
            assert "move devices.json to another place and enrol" in raised.value.hint
        assert path.read_bytes() == content


class TestDefaultPath:
    def test_edgesdk_home_comes_first(self) -> None:
        environ = {"EDGESDK_HOME": "/a", "XDG_CONFIG_HOME": "/b"}
        assert inventory.default_path(environ) == Path("/a/devices.json")

    def test_then_the_xdg_directory(self) -> None:
        expected = Path("/b/edgesdk/devices.json")
        assert inventory.default_path({"XDG_CONFIG_HOME": "/b"}) == expected

    def test_then_dot_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/h")
        assert inventory.default_path({}) == Path("/h/.config/edgesdk/devices.json")


def _add_five(path: Path, prefix: str) -> None:
    for number in range(5):
        inventory.add(path, replace(PI, name=f"{prefix}-{number}"))
