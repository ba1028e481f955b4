"""Facts about the cpio archive that SWUpdate takes; SWUpdate itself reads it elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.package.exporters import cpio
from edgesdk.package.exporters.cpio import write_cpio


def read(archive: bytes) -> list[tuple[str, bytes, int]]:
    """Name, content and checksum of each member, by the form's definition."""
    found, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070702"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size, checksum = fields[6], fields[11], fields[12]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at += 110 + name_size
        at += -at % 4
        if name == "TRAILER!!!":
            assert set(archive[at:]) <= {0}
            return found
        found.append((name, archive[at : at + size], checksum))
        at += size
        at += -at % 4


names = st.text("abcdefghij-._", min_size=1, max_size=30)
archives = st.lists(st.tuples(names, st.binary(max_size=2000)), max_size=5)


@given(archives)
def test_what_goes_in_comes_out_with_the_sum_of_its_bytes(members: list[tuple[str, bytes]]) -> None:
    archive = b"".join(write_cpio(members))
    assert read(archive) == [(name, data, sum(data)) for name, data in members]
    assert len(archive) % 512 == 0


def test_a_file_is_the_same_as_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one piece
    file = tmp_path / "file"
    file.write_bytes(data)
    assert b"".join(write_cpio([("x", file)])) == b"".join(write_cpio([("x", data)]))


def test_a_member_beyond_the_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpio, "MEMBER_MAX_BYTES", 9)
    with pytest.raises(ValueError, match="x: found 10 bytes, expected at most 9"):
        b"".join(write_cpio([("x", bytes(10))]))
