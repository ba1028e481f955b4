"""`edgetpu_compiler`: where it is absent, where it works, and every way it can fail."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.convert.backends.edgetpu import compiling
from edgesdk.convert.backends.edgetpu.log import read_log
from edgesdk.convert.toolchains import EDGETPU, Compiled
from edgesdk.errors import ConversionError
from edgesdk.targets.types import Accelerator, EdgeTpu, Figure
from edgesdk.values.plan import ConversionPlan
from tests.unit.convert.edgetpu_files import LOG, chain, compiled, fake_compiler
from tests.unit.convert.litert_networks import plan_for

CAPACITY = 8_388_608


class Bench:
    """An INT8 model in an artifact's folder and, on PATH, a compiler of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = folder / "artifact"
        self.directory.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.model = chain(self.directory / "model.tflite", ["RELU", "ABS", "RELU"])
        self.result = compiled(self.model, folder / "result.tflite", [0])
        self.edgetpu = EdgeTpu(Figure(CAPACITY, "test"))
        monkeypatch.setenv("PATH", str(self.bin))

    def install(self, body: str) -> None:
        fake_compiler(self.bin, body)

    def plan(self) -> ConversionPlan:
        return replace(plan_for(self.model), accelerator=Accelerator(edgetpu=self.edgetpu))

    def compile(self) -> Compiled:
        return compiling.compile(self.model, self.plan(), self.directory)

    def failure(self) -> ConversionError:
        with pytest.raises(ConversionError) as caught:
            self.compile()
        left = sorted(path.name for path in self.directory.iterdir())
        assert left == ["model.tflite"], "a failure leaves nothing behind"
        return caught.value


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def works(result: Path) -> str:
    return (
        f"Path('model_edgetpu.tflite').write_bytes(Path({str(result)!r}).read_bytes())\n"
        f"Path('model_edgetpu.log').write_text('log of ' + ' '.join(sys.argv[1:]))\n"
        f"print({LOG!r})"
    )


def test_without_a_compiler_the_account_says_not_compiled(bench: Bench) -> None:
    account = bench.compile().account
    assert account.status == "not compiled"
    assert "edgetpu_compiler is not on PATH" in account.reason
    assert "https://coral.ai/docs/edgetpu/compiler/" in account.reason


def test_without_a_compiler_the_int8_model_is_what_ships(bench: Bench) -> None:
    found = bench.compile()
    assert found.model is None
    assert (found.account.placements, found.account.cache, found.account.version) == ((), None, "")


def test_the_compiled_model_is_what_ships(bench: Bench) -> None:
    bench.install(works(bench.result))
    found = bench.compile()
    assert found.account.status == "compiled"
    assert found.model == bench.directory / "model_edgetpu.tflite"
    assert found.model.read_bytes() == bench.result.read_bytes()


def test_the_version_is_the_compilers_own(bench: Bench) -> None:
    bench.install(works(bench.result))
    assert bench.compile().account.version == "16.0.384591198"


def test_the_runtime_that_the_compiled_model_asks_for_is_in_the_account(bench: Bench) -> None:
    bench.install(works(bench.result))
    assert bench.compile().account.min_runtime_version == 14


def test_placements_are_those_of_the_compiled_file_with_the_compilers_words(bench: Bench) -> None:
    bench.install(works(bench.result))
    assert [(each.type, each.unit, each.reason) for each in bench.compile().account.placements] == [
        ("RELU", "edgetpu", ""),
        ("ABS", "cpu", "Operation not supported"),
        ("RELU", "cpu", "More than one subgraph is not supported"),
    ]


def test_the_cache_use_is_read_from_the_custom_operator(bench: Bench) -> None:
    bench.install(works(bench.result))
    cache = bench.compile().account.cache
    assert cache is not None
    assert (cache.on_chip_bytes, cache.streamed_bytes) == (4096, 64)
    assert cache.capacity_bytes == CAPACITY


def test_the_compilers_log_is_kept_beside_the_model(bench: Bench) -> None:
    bench.install(works(bench.result))
    bench.compile()
    kept = sorted(path.name for path in bench.directory.iterdir())
    assert kept == ["model.tflite", "model_edgetpu.log", "model_edgetpu.tflite"]


def test_the_oldest_runtime_is_left_to_the_compiler_unless_the_descriptor_names_one(
    bench: Bench,
) -> None:
    bench.install(works(bench.result))
    bench.compile()
    log = bench.directory / "model_edgetpu.log"
    assert log.read_text() == "log of -s -o . model.tflite"
    bench.edgetpu = EdgeTpu(Figure(CAPACITY, "test"), Figure(13, "test"))
    bench.compile()
    assert log.read_text() == "log of -s -m 13 -o . model.tflite"


def test_a_model_of_which_nothing_is_mapped_is_compiled_and_all_on_the_cpu(bench: Bench) -> None:
    compiled(bench.model, bench.result, [])
    bench.install(works(bench.result))
    account = bench.compile().account
    assert account.status == "compiled"
    assert {each.unit for each in account.placements} == {"cpu"}
    assert account.min_runtime_version is None


def test_a_crash_is_named_by_its_signal(bench: Bench) -> None:
    bench.install("os.kill(os.getpid(), signal.SIGSEGV)")
    assert "crashed (SIGSEGV)" in bench.failure().message


def test_a_refusal_comes_with_the_compilers_words(bench: Bench) -> None:
    bench.install("print('Internal compiler error. Aborting!')\nsys.exit(1)")
    failure = bench.failure()
    assert failure.message == "edgetpu_compiler ended with exit code 1"
    assert failure.details == ("Internal compiler error. Aborting!",)


def test_large_activations_come_with_a_cure(bench: Bench) -> None:
    said = "Compilation failed: Compilation failed due to large activation tensors in model."
    bench.install(f"print({said!r})\nsys.exit(1)")
    assert "smaller input" in bench.failure().hint


def test_a_hanging_compiler_is_stopped_with_its_children(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "DEADLINE_S", 0.5)
    marker = bench.directory.parent / "child-lived"
    bench.install(
        "if os.fork() == 0:\n"
        f"    time.sleep(1.5); Path({str(marker)!r}).touch(); os._exit(0)\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    assert "did not finish within 0.5 s" in bench.failure().message
    assert time.monotonic() - started < 10
    time.sleep(1.3)
    assert not marker.exists()


def test_success_without_a_file_is_a_failure(bench: Bench) -> None:
    bench.install("print('Compilation failed!')")
    failure = bench.failure()
    assert "wrote no model_edgetpu.tflite" in failure.message
    assert failure.details == ("Compilation failed!",)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1c\x00\x00\x00TFL3" + bytes(64)])
def test_a_result_that_is_no_model_is_a_failure(bench: Bench, content: bytes) -> None:
    bench.install(f"Path('model_edgetpu.tflite').write_bytes({content!r})")
    assert "its result is broken" in bench.failure().message


def test_a_result_of_another_model_is_a_failure(bench: Bench, tmp_path: Path) -> None:
    other = chain(tmp_path / "other.tflite", ["RELU", "TANH"])
    compiled(other, bench.result, [0])
    bench.install(works(bench.result))
    assert "compiled something else" in bench.failure().message


def test_a_full_disk_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 100, 0))
    bench.install("print('write error'); sys.exit(1)")
    assert "the disk is full" in bench.failure().message


def test_the_toolchain_names_this_compiler() -> None:
    assert EDGETPU.load_compiler() is compiling


def test_the_log_is_read_by_its_table() -> None:
    log = read_log(LOG)
    assert log.version == "16.0.384591198"
    assert [(row.type, row.count) for row in log.rows] == [("RELU", 1), ("RELU", 1), ("ABS", 1)]
    assert log.statuses() == {
        "ABS": ("Operation not supported",),
        "RELU": ("More than one subgraph is not supported",),
    }


def test_a_log_that_is_garbage_says_nothing() -> None:
    log = read_log("\x00\x01 Operator\nRELU one Mapped\n")
    assert (log.version, log.rows, dict(log.statuses())) == ("", (), {})
