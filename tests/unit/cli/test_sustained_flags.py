"""What goes with `bench --sustained`, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.cli.main import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sustained", "5s", "--max-parity-mismatch", "1"], "judged by --max-p95"),
        (["--sustained", "5s", "--model", "float.onnx"], "runs one model"),
        (["--sustained", "5s", "--per-operator"], "--per-operator beside --sustained"),
        (["--sustained", "5s", "--max-end-to-end-p95", "1 ms"], "judged by --max-p95"),
        (["--sustained", "5s", "--baseline", "last"], "a baseline"),
        (["--sustained", "half an hour"], "expected a duration"),
        (["--sustained", "5s", "--html", "."], "found the folder ., expected a file"),
        (["--sustained", "5s", "--html", "none/page.html"], "found no folder none to write"),
        (["--html", "page.html"], "--html without --sustained"),
    ],
)
def test_usage(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--device", "nobody", *flags]) == 2
    assert said in capsys.readouterr().err
