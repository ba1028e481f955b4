"""What the agent reports of its progress, shown as bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from device_agent.protocol import Progress
from edgesdk.progress import Progress as ProgressDisplay
from edgesdk.text import plain

OnProgress = Callable[[Progress], None]


@contextlib.contextmanager
def bar(progress: ProgressDisplay, description: str, total: int) -> Iterator[OnProgress]:
    """Shows what the agent reports; complete when the block ends without an error."""
    done = 0
    with progress.task(description, total) as advance:

        def show(report: Progress) -> None:
            nonlocal done
            advance(report.done - done)
            done = report.done

        yield show
        advance(max(total - done, 0))  # A total of 0 is one nobody knows.


@contextlib.contextmanager
def named_bar(progress: ProgressDisplay) -> Iterator[OnProgress]:
    """A bar with the agent's own words and total, from its first report on; without one, none."""
    with contextlib.ExitStack() as bars:
        what: str | None = None
        tell: OnProgress = lambda _: None  # noqa: E731

        def show(report: Progress) -> None:
            nonlocal what, tell
            if report.what != what:
                bars.close()
                what = report.what
                tell = bars.enter_context(bar(progress, plain(what), report.total))
            tell(report)

        yield show
