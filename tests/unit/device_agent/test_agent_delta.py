"""The applier of deltas: exact on every Python, within its memory, surprised by no patch."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from device_agent import delta
from device_agent.delta import BadDelta, apply
from device_agent.delta_streams import (
    DEFLATE,
    LZMA,
    PER_BYTE,
    RUNS,
    STORED,
    WHOLE,
    StreamHeader,
    open_streams,
)
from device_agent.delta_tensors import BUCKETS, NO_STREAM, Shape
from edgesdk.package.delta import make_delta
from edgesdk.package.delta.modelling import model
from edgesdk.package.delta.steps import ByteStep, Moved, write_patch
from tests.unit.package.delta_files import layers, noisy, onnx_qdq, weights

ROOT = Path(__file__).parents[3]
BASE, NEW = onnx_qdq(layers(weights())), onnx_qdq(layers(noisy(weights(), 0.05), seed=1))
PATCH = make_delta(BASE, NEW).patch
APPLY = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
from device_agent.delta import apply
digest = hashlib.sha256()
with open(sys.argv[2], "rb") as patch, open(sys.argv[3], "rb") as base:
    apply(patch, base, digest.update)
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print(json.dumps({"sha256": digest.hexdigest(), "peak_bytes": int(peak) * 1024}))
"""


def applied(patch: bytes, base: bytes = BASE) -> bytes:
    out = io.BytesIO()
    apply(io.BytesIO(patch), io.BytesIO(base), out.write)
    return out.getvalue()


def number(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def numbers(*values: int) -> bytes:
    return b"".join(map(number, values))


def patch_of(
    program: bytes,
    *,
    new: int,
    base: int = len(BASE),
    side: int = 0,
    streams: Sequence[bytes] = (b"", b"", b""),
    magic: bytes = b"EDT\x01",
) -> bytes:
    """A patch of stored streams: the program, inserted bytes, differences, classes, symbols."""
    contents = (program, *streams)
    header = numbers(new, base, side, len(contents))
    header += b"".join(numbers(STORED * 32 + WHOLE, len(each)) for each in contents)
    return magic + header + b"".join(contents)


# --- what is sound is applied ---


def test_a_patch_makes_the_new_file() -> None:
    assert applied(PATCH) == NEW


def test_the_size_is_known_before_anything_is_made() -> None:
    assert delta.new_size(io.BytesIO(PATCH)) == len(NEW)


def test_the_steps_on_bytes_do_what_they_say() -> None:
    program = numbers(delta.END)
    program += numbers(delta.COPY, 3, 2 * 5)  # five on from 0
    program += numbers(delta.INSERT, 2)
    program += numbers(delta.ADD, 2, 2 * 3 - 1)  # three back from 8
    program += numbers(delta.END)
    made = applied(
        patch_of(program, new=7, base=10, streams=(b"XY", b"\x01\xff", b"")), b"0123456789"
    )
    assert made == b"567XY" + bytes([ord("5") + 1, ord("6") - 1])


def test_a_base_of_single_reads_is_enough(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(BASE)
    (tmp_path / "patch").write_bytes(PATCH)
    out = io.BytesIO()
    with (tmp_path / "patch").open("rb") as patch, (tmp_path / "base").open("rb") as base:
        apply(patch, base, out.write)
    assert out.getvalue() == NEW


@pytest.mark.parametrize("base", [*PER_BYTE, RUNS])
@pytest.mark.parametrize("codec", [STORED, DEFLATE, LZMA])
def test_symbols_come_out_of_every_form_they_can_be_written_in(codec: int, base: int) -> None:
    from edgesdk.package.delta import coding

    random = np.random.default_rng(0)
    for chance in (0.0, 0.01, 0.4, 1.0):
        symbols = np.where(random.random(5000) < chance, random.integers(0, 256, 5000), 0)
        symbols = symbols.astype(np.uint8)
        packed, escapes = coding.pack(symbols, base) if base != WHOLE else (symbols, None)
        forms = coding._coders(packed.tobytes(), base, 5000, ((0, 0, 0),), (0,))
        written = [next(each for each in forms if each.header.codec == codec)]
        if escapes is not None:
            written.append(coding._code(escapes.tobytes(), WHOLE, len(escapes)))
        stored = io.BytesIO(b"".join(each.stored for each in written))
        (stream, *_) = open_streams(stored, 0, [each.header for each in written])
        assert stream.take(5000) == symbols.tobytes()


# --- every Python, and its memory ---


def interpreters() -> list[Path]:
    root = os.environ.get("PYENV_ROOT", "")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
    found = sorted(Path(root).glob("versions/3.*/bin/python")) if root else []
    return [each for each in found if int(each.parents[1].name.split(".")[1]) >= 7]


def run(python: str, patch: bytes, base: bytes, folder: Path) -> dict[str, object]:
    for name, content in (("patch", patch), ("base", base)):
        (folder / name).write_bytes(content)
    command = [python, "-I", "-c", APPLY, str(ROOT), str(folder / "patch"), str(folder / "base")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not interpreters(), reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", interpreters(), ids=lambda python: python.parents[1].name)
def test_every_python_makes_the_same_file(python: Path, tmp_path: Path) -> None:
    import hashlib

    assert run(str(python), PATCH, BASE, tmp_path)["sha256"] == hashlib.sha256(NEW).hexdigest()


def large(size: int) -> tuple[bytes, bytes]:
    """A base of one tensor with a scale a channel, and a patch that moves all of it."""
    random = np.random.default_rng(0)
    columns = 4096
    rows = size // columns
    scales = random.uniform(0.01, 0.02, rows).astype("<f4").tobytes()
    base = random.integers(0, 256, size, np.uint8).tobytes() + scales
    from edgesdk.package.delta.steps import Copy

    shape = Shape(1, rows, columns)
    moved = Moved(rows, size, 0, 0.99, 0, 0, (-128, 127), (-128, 127))
    symbols = (random.random(size) < 0.3).astype(np.uint8) * 3
    buckets = _buckets(base, scales, size, rows)
    step = ByteStep(shape, False, True, 0, moved, symbols, buckets)
    side = (Copy(size, len(scales)),)
    patch = write_patch("tensors-delta", (size, len(base)), side, (step,), model((*side, step)))
    return base, patch.data


def _buckets(base: bytes, scales: bytes, size: int, rows: int) -> np.ndarray:
    from device_agent import delta_tensors as agent
    from edgesdk.package.delta.residuals import scaled_residual

    old = np.frombuffer(base, np.uint8, size)
    floats = agent.floats(scales)
    scaling = agent.Scaling(floats, floats, 0.99, 0, 0, (-128, 127), (-128, 127))
    found = scaled_residual(old, old, Shape(1, rows, size // rows), True, scaling).buckets
    assert found is not None
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
@pytest.mark.parametrize(("size", "limit"), [(4 << 20, 24 << 20), (8 << 20, 24 << 20)])
def test_memory_does_not_grow_with_the_model(size: int, limit: int, tmp_path: Path) -> None:
    base, patch = large(size)
    assert run(sys.executable, patch, base, tmp_path)["peak_bytes"] < limit  # type: ignore[operator]


def test_a_python_without_lzma_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device_agent.delta_streams.lzma", None)
    with pytest.raises(BadDelta, match="no lzma module"):
        applied(PATCH)


# --- what is not is refused ---


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"EDB\x01", b"EDT\x01"]))
@example(b"", b"")
def test_any_bytes_are_applied_or_refused(content: bytes, magic: bytes) -> None:
    tried(magic + content)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_spoilt_patch_is_applied_or_refused(data: st.DataObject) -> None:
    spoilt = bytearray(PATCH)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 300) | st.integers(0, len(spoilt) - 1))
        spoilt[place] = data.draw(st.integers(0, 255))
    del spoilt[data.draw(st.integers(0, len(spoilt)) | st.just(len(spoilt))) :]
    tried(bytes(spoilt))


STEPS = st.lists(
    st.one_of(
        st.integers(0, 9).map(number),
        st.integers(0, 300).map(number),
        st.integers(0, 2**63 - 1).map(number),
        st.just(numbers(delta.PROFILE) + bytes([4] * (BUCKETS + 1))),
        st.just(numbers(delta.PROFILE) + bytes([NO_STREAM] * (BUCKETS + 1))),
        st.just(numbers(delta.TABLE, 256, 4)),
        st.builds(
            lambda flags, shape, rest: numbers(delta.BYTES, flags, *shape, *rest),
            st.integers(0, 127),
            st.tuples(*[st.integers(1, 6)] * 3),
            st.lists(st.integers(0, 8), max_size=14),
        ),
        st.builds(
            lambda flags, width, rest: numbers(delta.WIDE, flags, width, *rest),
            st.integers(0, 127),
            st.sampled_from([2, 4, 8, 3]),
            st.lists(st.integers(0, 8), max_size=14),
        ),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(0, 300), st.integers(0, 40), st.binary(max_size=64))
def test_any_program_is_run_or_refused(
    steps: list[bytes], new: int, side: int, content: bytes
) -> None:
    streams = (content, content, bytes([0] * 8), content, content)
    tried(patch_of(b"".join(steps), new=new, base=64, side=side, streams=streams), bytes(range(64)))


def tried(patch: bytes, base: bytes = BASE) -> None:
    """Apply it; more than the declared size never comes, and nothing but `BadDelta` is raised."""
    made = [0]

    def write(piece: bytes) -> None:
        made[0] += len(piece)
        assert made[0] <= size

    try:
        size = delta.new_size(io.BytesIO(patch))
        apply(io.BytesIO(patch), io.BytesIO(base), write)
    except BadDelta:
        pass
    else:
        assert made[0] == size


def test_a_patch_of_bytes_has_no_steps_on_tensors() -> None:
    program = numbers(delta.END, delta.PROFILE) + bytes([NO_STREAM] * 9) + numbers(delta.END)
    assert applied(patch_of(program, new=0)) == b""
    with pytest.raises(BadDelta, match="in a patch of bytes"):
        applied(patch_of(program, new=0, magic=b"EDB\x01"))


@pytest.mark.parametrize(
    ("program", "new", "words"),
    [
        (numbers(0, delta.COPY, 5, 0, 0), 4, "makes 5 bytes where 4 are left"),
        (numbers(0, delta.COPY, 5, 0, 0), 6, "made 5 of 6 bytes"),
        (numbers(0, delta.COPY, 5, 1, 0), 5, "outside the base"),
        (numbers(0, delta.COPY, 5, 2 * len(BASE), 0), 5, "outside the base"),
        (numbers(0, delta.INSERT, 5, 0), 5, "ended after 0 of 5 symbols"),
        (numbers(0, delta.SIDE, 4, 0, 0), 4, "outside the side"),
        (numbers(0, delta.BYTES, 0, 1, 0, 1, 0), 4, "1 x 0 x 1 elements"),
        (numbers(0, delta.BYTES, 0, 1, 1, 4, 0), 4, "a class that has no profile"),
        (numbers(0, delta.WIDE, 0, 3, 1, 0), 4, "elements of 3 bytes"),
        (numbers(0, delta.WIDE, 0, 4, 1, 0, 0, 0, 0), 4, "table 0 of 0"),
        (numbers(0, delta.TABLE, 255, 255, 2, 255), 0, "256 places"),
        (numbers(0, delta.TABLE, 256, 9), 0, "no stream has"),
        (numbers(0, 77), 0, "step 77"),
        (b"\x00" + b"\xff" * 12, 0, "more than 63 bits"),
        (b"\x00", 0, "in the middle of a number"),
    ],
)
def test_a_step_that_makes_no_sense_is_named(program: bytes, new: int, words: str) -> None:
    with pytest.raises(BadDelta, match=words):
        applied(patch_of(program, new=new))


def test_a_base_that_is_too_short_is_refused() -> None:
    with pytest.raises(BadDelta, match="the base ends"):
        applied(PATCH, BASE[: len(BASE) // 2])


def test_dictionaries_are_bounded_before_one_is_made() -> None:
    header = StreamHeader(LZMA, WHOLE, 0, 23, 10, 10)
    with pytest.raises(BadDelta, match="bytes of dictionaries"):
        open_streams(io.BytesIO(bytes(100)), 0, [header] * 2)


def test_a_stream_that_would_unpack_to_more_than_it_declares_does_not() -> None:
    import zlib

    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = coder.compress(bytes(10**7)) + coder.flush()
    (stream,) = open_streams(
        io.BytesIO(bomb), 0, [StreamHeader(DEFLATE, WHOLE, 0, 0, len(bomb), 100)]
    )
    assert sum(1 for _ in stream.symbols) == 100


def test_a_side_larger_than_allowed_is_refused() -> None:
    with pytest.raises(BadDelta, match="a side of"):
        applied(patch_of(numbers(0, 0), new=0, side=delta.SIDE_MAX_BYTES + 1))
