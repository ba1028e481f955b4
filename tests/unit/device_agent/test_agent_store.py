"""The device store: locks, state, trust, what applications find; never led astray by a link."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_packages import head_of_package, id_of, package_of
from device_store import Device, fails

from device_agent.failures import AgentFailure
from device_agent.state import State, Trial, begin_trial
from device_agent.store import KeptTrust, Store
from device_agent.trust_messages import SignedTrust
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER

pytestmark = pytest.mark.usefixtures("runtimes")

FIRST = package_of({"model": b"first" * 1000}, OWNER, version="1", sequence=1)
SECOND = package_of({"model": b"second" * 1000}, OWNER, version="2", sequence=2)
THIRD = package_of({"model": b"third" * 1000}, OWNER, version="3", sequence=3)
FACES = package_of({"model": b"faces" * 1000}, OWNER, name="faces")


def store_on(root: Path) -> Store:
    return Store(str(root))


# ---- one at a time -------------------------------------------------------------------------------


def test_one_session_measures_at_a_time(root: Path, device: Device) -> None:
    other = store_on(root)
    device.store.begin_measuring()
    device.store.begin_measuring()
    fails("busy", other.begin_measuring)
    device.close()
    other.begin_measuring()
    other.close()


def test_measuring_needs_no_writable_disk(root: Path, device: Device) -> None:
    (root / "measuring.lock").mkdir()  # It cannot be opened to write, as on a read-only disk.
    device.store.begin_measuring()


def test_one_session_installs_at_a_time(root: Path, device: Device) -> None:
    other = store_on(root)
    device.store.begin_installing()
    device.store.begin_installing()
    failure = fails("busy", other.begin_installing)
    assert failure.message == "another session is installing on this device"
    assert failure.hint == "try again when it has ended"
    device.store.end_installing()
    device.store.end_installing()
    other.begin_installing()
    assert other.is_installing and not device.store.is_installing
    fails("busy", device.store.begin_installing)
    other.close()
    device.store.begin_installing()


def test_installing_does_not_keep_others_from_measuring(root: Path, device: Device) -> None:
    other = store_on(root)
    device.store.begin_installing()
    other.begin_measuring()
    other.close()


def dying_with(root: Path, what: str) -> None:
    """A process that opens the store, does that, and is killed."""
    program = f"""
        import os, sys
        from device_agent.state import Trial, begin_trial
        from device_agent.store import Store
        store = Store(sys.argv[1])
        {what}
        os.kill(os.getpid(), 9)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(root)]
    assert subprocess.run(argv).returncode == -9


def test_the_lock_of_a_process_that_was_killed_is_no_lock(root: Path) -> None:
    dying_with(root, "store.begin_installing(); store.begin_measuring()")
    assert (root / "installing.lock").exists()
    after = store_on(root)
    after.begin_installing()
    after.begin_measuring()
    after.close()


def test_a_lock_file_that_lies_about_is_no_lock(root: Path) -> None:
    root.mkdir(mode=0o700)
    for name in ("lock", "installing.lock", "measuring.lock"):
        (root / name).write_text("4711")
    opened = store_on(root)
    opened.begin_installing()
    opened.close()


def test_opening_waits_for_whoever_changes_the_store(root: Path, device: Device) -> None:
    program = "import sys; from device_agent.store import Store; Store(sys.argv[1]).close()"
    with (root / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = subprocess.Popen([sys.executable, "-c", program, str(root)])
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
    assert other.wait(20) == 0


# ---- the state -----------------------------------------------------------------------------------


def on_trial(package: bytes) -> Trial:
    return Trial(head_of_package(package).manifest.name, id_of(package))


def test_a_new_device_knows_of_nothing(device: Device) -> None:
    assert device.store.state() == State()


def test_the_state_is_there_for_the_next_session(root: Path, device: Device) -> None:
    changed = device.store.change(lambda state: begin_trial(state, Trial("x", "a" * 64), "anna", 0))
    assert device.store.state() == changed != State()


def test_a_change_that_is_refused_changes_nothing(root: Path, device: Device) -> None:
    device.install(FIRST)
    before = (root / "state.json").read_bytes()

    def refuse(state: State) -> State:
        raise AgentFailure("bad_request", "no")

    fails("bad_request", lambda: device.store.change(refuse))
    assert (root / "state.json").read_bytes() == before


@pytest.mark.parametrize("name", ["state.json", "trust.json"])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"slots": 5, "version": 5}', b"\xff"])
def test_a_damaged_file_is_said_and_what_to_do_about_it(root: Path, name: str, text: bytes) -> None:
    device = Device(root)
    device.install(FIRST)
    device.close()
    (root / name).write_bytes(text)

    def look() -> None:
        store_on(root).trust()

    failure = fails("storage", look)
    assert str(root / name) in failure.message and "damaged" in failure.message
    assert "move it away" in failure.hint
    assert (root / name).read_bytes() == text, "what a person may still want to look at"


@pytest.mark.parametrize("name", ["../../escaped", "a\0b", "\ud800"])
def test_a_state_that_leads_astray_is_damaged_and_not_followed(root: Path, name: str) -> None:
    device = Device(root)
    device.install(FIRST)
    device.close()
    text = (root / "state.json").read_text()
    (root / "state.json").write_text(text.replace('"digits"', json.dumps(name)))
    failure = fails("storage", lambda: store_on(root))
    assert "state.json is damaged" in failure.message and "move it away" in failure.hint
    assert not os.path.lexists(root.parent / "escaped")


def test_a_folder_in_the_place_of_the_state_is_said(root: Path, device: Device) -> None:
    (root / "state.json").mkdir()
    assert "not a plain file" in fails("storage", device.store.state).message


@pytest.mark.parametrize("end", ["killed", "closed"])
def test_a_trial_ends_with_its_session(root: Path, end: str) -> None:
    device = Device(root)
    device.install(FIRST)
    if end == "closed":
        device.try_out(SECOND)
        assert device.store.state().trial == on_trial(SECOND)
        device.close()
    else:
        device.close()
        trial = f"Trial('digits', {id_of(SECOND)!r})"
        dying_with(
            root,
            "store.begin_installing(); "
            f"store.change(lambda state: begin_trial(state, {trial}, '', 0))",
        )
        assert b'"trial":{' in (root / "state.json").read_bytes()
    after = Device(root)
    assert after.store.state().trial is None
    assert after.version == "1"
    after.close()


def test_a_session_that_looks_around_does_not_end_the_trial_of_another(
    root: Path, device: Device
) -> None:
    device.try_out(FIRST)
    other = store_on(root)
    assert other.state().trial == on_trial(FIRST)
    other.close()
    assert device.store.state().trial == on_trial(FIRST)


# ---- what applications find ----------------------------------------------------------------------


def test_the_link_leads_to_the_current_package(root: Path, device: Device) -> None:
    device.install(FIRST)
    assert device.links() == {"digits": f"../store/{id_of(FIRST)}"}
    assert (root / "models" / "digits" / "model.bin").read_bytes() == b"first" * 1000
    device.install(FACES)
    device.install(SECOND)
    assert device.links() == {
        "digits": f"../store/{id_of(SECOND)}",
        "faces": f"../store/{id_of(FACES)}",
    }


def test_a_package_on_trial_is_not_linked_to(device: Device) -> None:
    device.try_out(FIRST)
    assert device.links() == {}
    device.install(FIRST)
    device.try_out(SECOND)
    assert device.links() == {"digits": f"../store/{id_of(FIRST)}"}


@pytest.mark.parametrize("spoil", ["absent", "elsewhere", "a file"])
def test_the_next_session_sets_the_links_right(root: Path, spoil: str) -> None:
    """As after a power cut between the state and the link."""
    device = Device(root)
    device.install(FIRST)
    device.close()
    link = root / "models" / "digits"
    link.unlink()
    if spoil == "elsewhere":
        link.symlink_to("../store/" + "0" * 64)
    elif spoil == "a file":
        link.write_text("?")
    after = Device(root)
    assert after.links() == {"digits": f"../store/{id_of(FIRST)}"}
    after.close()


def test_a_link_that_is_right_is_left_alone(root: Path, device: Device) -> None:
    device.install(FIRST)
    before = os.lstat(root / "models" / "digits").st_ino
    store_on(root).close()
    assert os.lstat(root / "models" / "digits").st_ino == before


def test_a_folder_in_the_place_of_a_link_is_said_before_anything_changes(
    root: Path, device: Device
) -> None:
    (root / "models" / "digits" / "mine").mkdir(parents=True)
    failure = fails("storage", lambda: device.install(FIRST))
    assert "models/digits" in failure.message and "move it away" in failure.message
    assert device.store.state().slots == ()
    store_on(root).close()


def test_applications_of_others_may_read_an_installed_package(root: Path, device: Device) -> None:
    """Who may come as far is for the owner of the folder above to say."""
    device.install(FIRST)
    folder = root / "store" / id_of(FIRST)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


# ---- clean-up ------------------------------------------------------------------------------------


def stored(root: Path) -> set[str]:
    return set(os.listdir(root / "store"))


def test_only_current_and_previous_packages_stay(root: Path, device: Device) -> None:
    for package in (FIRST, FACES, SECOND, THIRD):
        device.install(package)
    assert stored(root) == {id_of(SECOND), id_of(THIRD), id_of(FACES)}
    assert set(device.store.state().signed_by) == stored(root)


def test_clean_up_takes_neither_current_nor_previous_nor_what_is_on_trial(
    root: Path, device: Device
) -> None:
    device.install(FIRST)
    device.install(SECOND)
    device.try_out(THIRD)
    (root / "store" / "rubbish").mkdir()
    (root / "store" / ("0" * 64)).symlink_to(root)
    device.store.clean_up()
    assert stored(root) == {id_of(FIRST), id_of(SECOND), id_of(THIRD)}


def test_a_package_whose_trial_ended_goes_with_the_next_offer(root: Path) -> None:
    device = Device(root)
    device.install(FIRST)
    device.try_out(SECOND)
    device.close()
    after = Device(root)
    assert id_of(SECOND) in stored(root), "which might be pushed again"
    after.offer(THIRD)
    assert stored(root) == {id_of(FIRST)}
    after.close()


# ---- trust ---------------------------------------------------------------------------------------


def test_whom_a_device_believes_is_kept(root: Path, device: Device) -> None:
    kept = device.store.trust()
    other = store_on(root)
    assert other.trust() == kept is not None
    other.close()


def test_a_device_that_was_never_enrolled_believes_nobody(root: Path) -> None:
    opened = store_on(root)
    assert opened.trust() is None
    kept = KeptTrust(SignedTrust("{}", "signature"), True)
    opened.change_trust(lambda before: kept if before is None else before)
    assert opened.trust() == kept
    opened.close()


# ---- links and other traps -----------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that the agent has no business in."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"gold")
    return folder


@pytest.fixture
def untouched(outside: Path) -> Iterator[None]:
    yield
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"precious": b"gold"}


@pytest.mark.usefixtures("untouched")
class TestLinks:
    def test_in_the_package_s_place(self, device: Device, root: Path, outside: Path) -> None:
        device.offer(FIRST)  # Which cleans up.
        (root / "store" / id_of(FIRST)).symlink_to(outside)
        device.install(FIRST)
        assert not (root / "store" / id_of(FIRST)).is_symlink()

    def test_in_a_file_s_place(self, device: Device, root: Path, outside: Path) -> None:
        package_id = device.install(FIRST).installed.package_id
        model = root / "store" / package_id / "model.bin"
        moved = model.rename(root / "elsewhere")
        model.symlink_to(moved)
        fails("storage", lambda: device.store.packages.verified_path(package_id, "model"))
        device.install(FIRST)
        assert not model.is_symlink()

    @pytest.mark.parametrize("name", ["store", "models", "incoming", "sessions"])
    def test_in_a_folder_s_place(self, root: Path, outside: Path, name: str) -> None:
        root.mkdir(mode=0o700)
        (root / name).symlink_to(outside)
        assert "not a folder" in fails("storage", lambda: store_on(root)).message

    @pytest.mark.parametrize("name", ["lock", "installing.lock"])
    def test_in_a_lock_s_place(self, root: Path, outside: Path, name: str) -> None:
        root.mkdir(mode=0o700)
        (root / name).symlink_to(outside / "precious")
        fails("storage", lambda: store_on(root))

    @pytest.mark.parametrize("name", ["state.json", "trust.json"])
    def test_in_the_place_of_what_is_known(self, root: Path, outside: Path, name: str) -> None:
        device = Device(root)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(outside / "precious")
        device.close()
        fails("storage", lambda: Device(root).install(FIRST))

    def test_in_the_place_of_an_application_s_link(
        self, device: Device, root: Path, outside: Path
    ) -> None:
        (root / "models" / "digits").symlink_to(outside)
        device.install(FIRST)
        assert device.links() == {"digits": f"../store/{id_of(FIRST)}"}

    def test_in_the_agent_s_place(self, device: Device, root: Path, outside: Path) -> None:
        (root / "agent").symlink_to(outside)
        fails("storage", lambda: device.store.link_agent("/x/agent.pyz"))

    def test_among_transfers(self, device: Device, root: Path, outside: Path) -> None:
        (root / "incoming" / "other").symlink_to(outside)
        device.offer(FIRST)
        assert "other" not in os.listdir(root / "incoming")

    def test_among_dead_sessions(self, root: Path, outside: Path) -> None:
        (root / "sessions").mkdir(parents=True, mode=0o700)
        (root / "sessions" / "dead").symlink_to(outside)
        store_on(root).close()
        assert os.listdir(root / "sessions") == []

    def test_inside_dead_sessions(self, root: Path, outside: Path) -> None:
        (root / "sessions" / "dead").mkdir(parents=True, mode=0o700)
        (root / "sessions" / "dead" / "lock").symlink_to(outside / "precious")
        (root / "sessions" / "dead" / "more").symlink_to(outside)
        store_on(root).close()
        assert os.listdir(root / "sessions") == []


def test_engines_lie_beside_the_packages(device: Device, root: Path) -> None:
    assert device.store.engines == str(root / "engines")
    assert not (root / "engines").exists()


def test_a_root_that_others_can_write_is_refused(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    assert "not yours alone" in fails("storage", lambda: store_on(root)).message


def test_a_root_may_be_a_link_that_its_owner_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    store_on(tmp_path / "link").close()
    assert (tmp_path / "data" / "store").is_dir()


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nowhere"])
def test_an_impossible_root_is_said(place: str) -> None:
    assert place in fails("storage", lambda: Store(place)).message


# ---- staging -------------------------------------------------------------------------------------


def stage(store: Store, name: str, data: bytes, digest: str | None = None) -> str:
    sha256 = hashlib.sha256(data).hexdigest() if digest is None else digest
    return store.stage(name, len(data), sha256, io.BytesIO(data).read)


def test_a_staged_file_lasts_as_long_as_the_session(root: Path) -> None:
    opened = store_on(root)
    path = stage(opened, "float.onnx", b"model")
    assert Path(path).read_bytes() == b"model"
    assert Path(stage(opened, "float.onnx", b"other")).read_bytes() == b"other"
    opened.close()
    assert not Path(path).exists()


@pytest.mark.parametrize("name", ["../x", "/x", "", ".x", "a/b", "x\0", "x\n"])
def test_staged_names_are_plain(device: Device, name: str) -> None:
    fails("bad_request", lambda: stage(device.store, name, b"x"))


def test_a_staged_file_that_is_not_as_announced_goes(device: Device) -> None:
    fails("bad_request", lambda: stage(device.store, "x", b"x", "0" * 64))
    short = io.BytesIO(b"short").read
    fails("bad_request", lambda: device.store.stage("x", 9, "0" * 64, short))
    assert [name for name in os.listdir(device.store._session) if name != "lock"] == []


# ---- sessions, living and dead -------------------------------------------------------------------


def test_a_living_session_is_left_alone(root: Path) -> None:
    first = store_on(root)
    path = stage(first, "x", b"x")
    second = store_on(root)
    assert Path(path).exists()
    first.close()
    second.close()
    assert os.listdir(root / "sessions") == []


def test_closing_twice_is_fine(root: Path) -> None:
    opened = Device(root, TRUST)
    opened.close()
    opened.close()
    assert os.listdir(root / "sessions") == []


# ---- agents of earlier versions ------------------------------------------------------------------


@pytest.fixture
def agents(device: Device, root: Path) -> Path:
    """Two agents, one of them with what Python compiled of it."""
    folder = root / "agent"
    folder.mkdir(mode=0o700)
    for name in ("old.pyz", "old.cpython-311-0", "new.pyz", "new.cpython-311-0"):
        (folder / name).touch()
    return folder


def test_old_agents_go_once_another_one_is_in_use(
    device: Device, agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.links._NEW_S", -1.0)
    device.store.link_agent(str(agents / "new.pyz"))
    assert set(os.listdir(agents)) == {"new.pyz", "new.cpython-311-0", "current.pyz"}
    assert (agents / "current.pyz").readlink() == Path("new.pyz")


def test_they_stay_while_another_session_may_import_from_them(
    device: Device, root: Path, agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.links._NEW_S", -1.0)
    other = store_on(root)
    device.store.link_agent(str(agents / "new.pyz"))
    assert len(os.listdir(agents)) == 5
    other.close()


def test_one_that_has_just_come_stays(device: Device, agents: Path) -> None:
    device.store.link_agent(str(agents / "new.pyz"))
    assert len(os.listdir(agents)) == 5


def test_an_agent_from_elsewhere_removes_none(
    device: Device, agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.links._NEW_S", -1.0)
    device.store.link_agent("/opt/edgesdk-agent.pyz")
    assert len(os.listdir(agents)) == 5
