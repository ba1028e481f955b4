"""The file that keeps every measurement: SQLite below the user's home of edgesdk.

One row a run: what a list shows in columns, and the whole report as compressed JSON. Writers in
several processes wait for one another; one that is killed leaves no half of a run. The file is
meant for a local disk: its write-ahead log does not work across machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import HistoryError
from edgesdk.files import one_writer
from edgesdk.home import home
from edgesdk.serial import canonical_json, to_dict
from edgesdk.values.endurance import Endurance
from edgesdk.values.report import Findings
from edgesdk.values.run import DIGEST_SHOWN, Measured, RunHead, StoredRun

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x45644765  # "EdGe"
_BUSY_S = 30.0
WHAT_KEEPS = "edgesdk bench, eval and deploy keep theirs"
_LAST = re.compile(r"last(?:~([0-9]{1,6}))?")
_ID = re.compile(r"([0-9]{1,18})-([0-9a-f]+)")
_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_TABLES = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL,
        created TEXT NOT NULL,
        command TEXT NOT NULL,
        device TEXT NOT NULL,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        package TEXT NOT NULL,
        version TEXT NOT NULL,
        package_id TEXT NOT NULL,
        data_sha256 TEXT NOT NULL,
        outcome TEXT NOT NULL,
        p50_ns REAL,
        drop_points REAL,
        document BLOB NOT NULL,
        stamp TEXT,
        steady_p90_ns REAL,
        gave_way_s REAL
    )""",
    """CREATE TABLE baselines (
        device TEXT NOT NULL,
        package TEXT NOT NULL,
        number INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        PRIMARY KEY (device, package)
    )""",
)
_MIGRATIONS = {
    1: (
        "ALTER TABLE runs ADD COLUMN stamp TEXT",
        "ALTER TABLE runs ADD COLUMN steady_p90_ns REAL",
        "ALTER TABLE runs ADD COLUMN gave_way_s REAL",
    ),
}
"""What brings a file of that format to the next one."""
_WRITTEN = (
    *("sha256", "created", "command", "device", "kind", "target", "package", "version"),
    *("package_id", "data_sha256", "outcome", "stamp", "p50_ns", "drop_points"),
    *("steady_p90_ns", "gave_way_s", "document"),
)
_COLUMNS = {"runs": {"number", *_WRITTEN}, "baselines": {"device", "package", "number"}}
_HEAD = """runs.number, sha256, created, command, runs.device, kind, target, runs.package,
    version, package_id, data_sha256, outcome, stamp, p50_ns, drop_points, steady_p90_ns,
    gave_way_s, baselines.number IS NOT NULL"""
_FROM = "FROM runs LEFT JOIN baselines ON baselines.number = runs.number"


def default_path() -> Path:
    """Where this user's runs are kept."""
    return home() / "runs.sqlite"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs; None where it does not matter.

    Args:
        since: UTC, ISO 8601; those made then or later.
        limit: the latest so many.
    """

    device: str | None = None
    target: str | None = None
    package: str | None = None
    since: str | None = None
    limit: int | None = None


class History:
    """The runs in one file, which need not exist yet.

    Every method raises `HistoryError` where the file cannot be used: it is damaged, made by a newer
    edgesdk, no file of ours, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, measured: Measured) -> RunHead:
        """Keep a measurement, durably; returns what it is called from now on."""
        document = canonical_json(to_dict(measured.findings))
        digest = hashlib.sha256(measured.created.encode() + b"\0" + document).hexdigest()
        row = (digest, *_columns(measured), zlib.compress(document))
        marks = ", ".join("?" * len(row))
        with self._changing() as db:
            number = db.execute(
                f"INSERT INTO runs ({', '.join(_WRITTEN)}) VALUES ({marks})",
                row,
            ).lastrowid
            return _head(db.execute(f"SELECT {_HEAD} {_FROM} WHERE runs.number = ?", (number,)))

    def heads(self, wanted: Wanted = Wanted()) -> tuple[RunHead, ...]:
        """The runs that are wanted, oldest first."""
        conditions = [
            (f"{column} {comparison} ?", value)
            for column, comparison, value in (
                ("runs.device", "=", wanted.device),
                ("target", "=", wanted.target),
                ("runs.package", "=", wanted.package),
                ("created", ">=", wanted.since),
            )
            if value is not None
        ]
        where = f"WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""
        values = [value for _, value in conditions]
        with self._reading() as db:
            if db is None:
                return ()
            rows = db.execute(
                f"SELECT {_HEAD} {_FROM} {where} ORDER BY runs.number DESC LIMIT ?",
                (*values, -1 if wanted.limit is None else wanted.limit),
            ).fetchall()
        return tuple(_as_head(row) for row in reversed(rows))

    def find(self, name: str) -> RunHead:
        """The run of that name: 12, 12-3fa9c2d1, 3fa9, last, last~1.

        Raises:
            HistoryError: there is none, or more than one.
        """
        condition, values = _condition(name)
        with self._reading() as db:
            rows = (
                []
                if db is None
                else db.execute(f"SELECT {_HEAD} {_FROM} {condition}", values).fetchall()
            )
        if not rows:
            raise self._no_run(name)
        if len(rows) > 1:
            ids = ", ".join(_as_head(row).id for row in rows)
            raise HistoryError(f"{name} may be any of {ids}", hint="give more of its id")
        return _as_head(rows[0])

    def load(self, head: RunHead) -> StoredRun:
        """A run with its document.

        Raises:
            HistoryError: it is no longer there, or not what was written.
        """
        with self._reading() as db:
            row = (
                None
                if db is None
                else db.execute(
                    "SELECT document FROM runs WHERE number = ?", (head.number,)
                ).fetchone()
            )
        if row is None:
            raise HistoryError(f"found no run {head.id}", hint="edgesdk runs ls lists them")
        return StoredRun(head, self._document(head, row[0]))

    def baseline(self, device: str, package: str) -> RunHead | None:
        """The accepted run of a package on a device; None without one."""
        with self._reading() as db:
            row = (
                None
                if db is None
                else db.execute(
                    f"SELECT {_HEAD} {_FROM} WHERE baselines.device = ? AND baselines.package = ?",
                    (device, package),
                ).fetchone()
            )
        return None if row is None else _as_head(row)

    def accept(self, head: RunHead) -> RunHead:
        """Make a run the baseline of its package on its device, in place of any other."""
        with self._changing() as db:
            db.execute(
                "INSERT OR REPLACE INTO baselines (device, package, number) VALUES (?, ?, ?)",
                (head.device, head.package, head.number),
            )
            return _head(
                db.execute(f"SELECT {_HEAD} {_FROM} WHERE runs.number = ?", (head.number,))
            )

    def remove(self, heads: Sequence[RunHead]) -> None:
        """Forget runs; all or none. A baseline among them is one no longer."""
        with self._changing() as db:
            db.executemany("DELETE FROM runs WHERE number = ?", [(h.number,) for h in heads])

    def _no_run(self, name: str) -> HistoryError:
        if not self.heads(Wanted(limit=1)):
            return HistoryError(f"found no run {name}: no runs are kept yet", hint=WHAT_KEEPS)
        return HistoryError(f"found no run {name}", hint="edgesdk runs ls lists them")

    def _document(self, head: RunHead, packed: bytes) -> Any:
        try:
            text = zlib.decompress(packed)
            if hashlib.sha256(head.created.encode() + b"\0" + text).hexdigest() != head.sha256:
                raise ValueError("its digest is another")
            return json.loads(text)
        except (zlib.error, ValueError, RecursionError) as error:
            raise HistoryError(
                f"run {head.id} in {self._path} is damaged: {error}",
                hint=f"edgesdk runs rm {head.id} forgets it",
            ) from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, in a file that is made if need be."""
        with self._told():
            with one_writer(self._path):  # Two that make the file, or its log, would collide.
                self._create()
            with contextlib.closing(self._connect("rw")) as db:
                db.execute("BEGIN IMMEDIATE")
                with db:
                    yield db

    def _create(self) -> None:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        with contextlib.closing(self._connect("rw")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            with db:
                if _is_empty(db):
                    for table in _TABLES:
                        db.execute(table)
                    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self._bring_up_to_date(db)
                self._check(db)

    def _bring_up_to_date(self, db: sqlite3.Connection) -> None:
        """Every step in the one transaction: a file is of one format or of the other."""
        self._require_ours(db)
        for version in range(_version(db), SCHEMA_VERSION):
            for statement in _MIGRATIONS[version]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The file as it is, brought up to date if need be; None where there is none yet."""
        with self._told():
            if not self._path.exists():
                yield None
                return
            if self._is_older():
                self._update_to_read()
            with contextlib.closing(self._connect_to_read()) as db:
                if _is_empty(db):
                    yield None
                    return
                self._check(db)
                yield db

    def _update_to_read(self) -> None:
        try:
            with one_writer(self._path):
                self._create()
        except (sqlite3.OperationalError, OSError) as error:
            raise HistoryError(
                f"{self._path} is of an older edgesdk and cannot be brought up to date: {error}",
                hint="make it and its folder writable, or set EDGESDK_HOME to a folder with a copy",
            ) from error

    def _is_older(self) -> bool:
        with contextlib.closing(self._connect_to_read()) as db:
            if _is_empty(db):
                return False
            self._require_ours(db)
            return _version(db) < SCHEMA_VERSION

    def _connect_to_read(self) -> sqlite3.Connection:
        """A log that holds nothing, on a disk that cannot be written, is done without."""
        db = self._connect("ro")
        try:
            db.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError:
            db.close()
            log = self._path.with_name(self._path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            return self._connect("ro&immutable=1")
        return db

    def _connect(self, mode: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
        )
        if mode == "rw":  # Even these would fail where nothing can be written.
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        self._require_ours(db)
        for table, expected in _COLUMNS.items():
            found = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            if found != expected:
                odd = ", ".join(sorted(found ^ expected))
                raise HistoryError(
                    f"{self._path} is not as format {SCHEMA_VERSION} has it: the table {table}"
                    f" differs in {odd}",
                    hint=self._away(),
                )

    def _require_ours(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise HistoryError(
                f"{self._path} is another program's database", hint="move it to another place"
            )
        found = _version(db)
        if found > SCHEMA_VERSION:
            raise HistoryError(
                f"{self._path} is of a newer edgesdk: found format {found}, expected "
                f"{SCHEMA_VERSION}",
                hint="update edgesdk, or set EDGESDK_HOME to another folder",
            )

    def _away(self) -> str:
        names = f"{self._path.name}, {self._path.name}-wal and {self._path.name}-shm"
        return f"move {names} to another place; the next measurement begins a new history"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What went wrong with the file, in one sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise HistoryError(f"{self._path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise HistoryError(
                f"{self._path} is damaged: {error}",
                hint=self._away(),
            ) from error
        except OSError as error:
            raise HistoryError(
                f"{error.filename or self._path} cannot be used: {error.strerror}"
            ) from error


def _columns(measured: Measured) -> tuple[Any, ...]:
    """What a list shows, in the order of `_WRITTEN` between the digest and the document."""
    found = measured.findings
    where = found.endured if isinstance(found, Endurance) else found.results
    device, installed = where.device, where.installed
    return (
        measured.created,
        measured.command,
        device.name,
        device.kind,
        measured.target,
        installed.name,
        installed.version,
        installed.package_id,
        "" if measured.data is None else measured.data.sha256,
        found.outcome,
        *(_of_long(found) if isinstance(found, Endurance) else _of_findings(found)),
    )


def _of_findings(found: Findings) -> tuple[Any, ...]:
    latency, validity = found.latency("int8"), found.validity("int8")
    return (
        None if validity is None else validity.stamp,
        None if latency is None or latency.p50 is None else latency.p50.value,
        None if found.accuracy is None else found.accuracy.drop.value,
        None,
        None,
    )


def _of_long(found: Endurance) -> tuple[Any, ...]:
    settled, gave_way = found.settled, found.gave_way
    return (
        found.validity.stamp,
        None if settled is None else settled.p50.value,
        None,
        None if settled is None or settled.p90 is None else settled.p90.value,
        None if gave_way is None else gave_way.at_s,
    )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _condition(name: str) -> tuple[str, tuple[Any, ...]]:
    """The end of a query for the run of that name; it may find several.

    Raises:
        HistoryError: no run can be called so.
    """
    if match := _LAST.fullmatch(name):
        return "ORDER BY runs.number DESC LIMIT 1 OFFSET ?", (int(match[1] or 0),)
    if match := _ID.fullmatch(name):
        return "WHERE runs.number = ? AND sha256 GLOB ?", (int(match[1]), f"{match[2]}*")
    if name.isdecimal() and name.isascii() and len(name) < DIGEST_SHOWN:
        return "WHERE runs.number = ?", (int(name),)
    if _PREFIX.fullmatch(name):
        return "WHERE sha256 GLOB ?", (f"{name}*",)
    raise HistoryError(
        f"found run {name!r}, expected its number, its id such as 12-3fa9c2d1, the beginning of "
        "its digest (4 hex digits or more), last, or last~1"
    )


def _is_empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _head(cursor: sqlite3.Cursor) -> RunHead:
    row = cursor.fetchone()
    if row is None:
        raise HistoryError("the run is no longer there", hint="edgesdk runs ls lists them")
    return _as_head(row)


def _as_head(row: Sequence[Any]) -> RunHead:
    number, sha256, created, command, device, kind, *rest = row
    target, package, version, package_id, data_sha256, outcome, *figures, baseline = rest
    stamp, p50_ns, drop, steady_p90_ns, gave_way_s = figures
    return RunHead(
        *(number, sha256, created, command, device, kind, target, package, version),
        *(package_id, data_sha256, outcome, stamp, p50_ns, drop, steady_p90_ns, gave_way_s),
        bool(baseline),
    )
