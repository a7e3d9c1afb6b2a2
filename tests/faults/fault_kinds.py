"""What can happen to a run that stands at a moment; each takes the scene, and lets the run go on where it can."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.faults import moments
from tests.faults.home import WatchedRun, is_alive, kill, wait_for
from tests.faults.scenes import OpenApp, stand_still
from tests.faults.soak_faults import Stranger
from tuner_tui.config.settings import set_setting
from tuner_tui.keeper import start
from tuner_tui.keeper.replace import end_silent_keeper
from tuner_tui.runs import queue
from tuner_tui.runs.events import StepLogged, Warned
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scenes import Scene

    Fault = Callable[[Scene], Any]
HEADROOM_BYTES = 24 << 20


def signal_worker(number: signal.Signals) -> Fault:
    """A signal to the worker."""

    def do(scene: Scene) -> None:
        os.kill(scene.at(0), number)
        if number != signal.SIGKILL:
            time.sleep(0.2)
            scene.go()

    return do


def kill_twice(scene: Scene) -> None:
    """The worker is killed, and the one after it as well, at the second moment."""
    kill(scene.at(0))
    scene.wait_until_settled()
    scene.endings.append(scene.words())
    scene.run.submit(resume=True)
    kill(scene.at(1))


def stop_and_continue_worker(scene: Scene) -> None:
    """The worker does not get to run for some seconds."""
    scene.go()
    stand_still(scene.worker())


def signal_keeper(number: signal.Signals) -> Fault:
    """A signal to the keeper; somebody looks at the run afterwards, which starts another one where that was its end."""

    def do(scene: Scene) -> None:
        keeper = scene.home.keeper()
        keeper.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            wait_for(lambda: not is_alive(keeper), "the keeper to die")
            start.adopt_if_needed(scene.run.folder)
            assert scene.home.keeper() != keeper
        else:
            time.sleep(0.2)
            assert keeper.is_running()
        scene.go()

    return do


def stop_and_continue_keeper(scene: Scene) -> None:
    """The keeper does not get to run for some seconds, in which the run may end."""
    keeper = scene.home.keeper()
    keeper.suspend()
    scene.go()
    time.sleep(3)
    keeper.resume()


def replace_stopped_keeper(scene: Scene) -> None:
    """The keeper does not get to run any more; somebody looks, and it is replaced."""
    keeper = scene.home.keeper()
    keeper.suspend()
    wait_for(lambda: end_silent_keeper(start.keeper_lock(), silent_seconds=2.0), "the keeper to be ended")
    start.adopt_if_needed(scene.run.folder)
    assert scene.home.keeper() != keeper
    scene.go()


def rename_folder(*, is_killed: bool = False) -> Fault:
    """The run's folder is given another name, and another folder has its name; perhaps the worker is killed then."""

    def do(scene: Scene) -> None:
        old = scene.run.folder.path
        new = old.with_name("another-name")
        old.rename(new)
        old.mkdir()
        scene.run = WatchedRun(RunFolder(new))
        kill(scene.at(0)) if is_killed else scene.go()
        scene.run.wait_for_end()
        old.rmdir()  # which fails when it was given anything

    return do


def take_lock_of_the_killed(scene: Scene) -> None:
    """Another program waits for the lock, has it for a while when the worker is killed, and lets it go."""
    stranger = Stranger(scene.run.folder.lock, holds_seconds=3.0)
    kill(scene.at(0))
    stranger.wait()


def fill_disk_and_kill(scene: Scene) -> None:
    """The worker is killed while there is no room to say so; it is said once there is."""
    ballast = _fill(scene)
    kill(scene.at(0))
    time.sleep(3)
    ballast.unlink()
    scene.run.wait_for_end()


def end_app(how: str, *arguments: str) -> Fault:
    """The app, or a command that follows, goes away while it shows the run."""

    def do(scene: Scene) -> None:
        app = OpenApp(*(word.replace("RUN", scene.run.folder.name) for word in arguments))
        app.wait_for(b"step" if arguments else scene.run.folder.name[-4:].encode())
        match how:
            case "SIGKILL" | "SIGTERM" | "SIGHUP":
                app.send(signal.Signals[how])
            case "SIGSTOP/SIGCONT":
                app.send(signal.SIGSTOP)
            case "terminal closed":
                app.close_terminal()
            case "Ctrl-C":
                app.type(b"\x03")
        if how == "SIGSTOP/SIGCONT":
            scene.go()
            scene.run.wait_for_step(8)
            app.send(signal.SIGCONT)
            app.send(signal.SIGKILL)
        app.wait_until_gone()
        scene.go()

    return do


def reboot(scene: Scene) -> None:
    """Every process of the home is killed at once."""
    processes = scene.home.processes()
    assert len(processes) >= 2
    kill(*(process.pid for process in processes))


def fill_disk(scene: Scene) -> None:
    """Not a byte more fits on the disk until the next moment, or until somebody resumes the run."""
    _until_next_moment(scene, _fill(scene).unlink)


def _fill(scene: Scene) -> Path:
    """Fill the disk; the file to delete for room."""
    ballast = scene.home.path / "data" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    assert shutil.disk_usage(ballast.parent).free == 0
    return ballast


def limit_file_size(scene: Scene) -> None:
    """No file of the worker's may become larger than what it has written into its smallest ones."""
    limits = resource.prlimit(scene.at(0), resource.RLIMIT_FSIZE)
    resource.prlimit(scene.at(0), resource.RLIMIT_FSIZE, (1000, limits[1]))
    _until_next_moment(
        scene, lambda: resource.prlimit(scene.at(0), resource.RLIMIT_FSIZE, limits), is_worker_s=True
    )


def forbid_writing(which: str) -> Fault:
    """A folder of the run's becomes read-only."""

    def do(scene: Scene) -> None:
        folder = str(scene.run.folder.path / which)
        if os.geteuid():
            Path(folder).chmod(0o555)
            _until_next_moment(scene, lambda: Path(folder).chmod(0o755))
            return
        mount("--bind", folder, folder)
        mount("-o", "remount,bind,ro", folder)
        _until_next_moment(scene, lambda: unmount(folder))

    return do


def mount(*arguments: str) -> None:
    """Mount, or skip where this machine does not let us."""
    if subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")


def unmount(folder: str) -> None:
    """Unmount, as soon as nobody is in there any more."""
    done = lambda: not subprocess.run(["umount", folder], capture_output=True, check=False).returncode  # noqa: E731
    wait_for(done, f"{folder} to be unmounted")


def _until_next_moment(scene: Scene, mend: Callable[[], Any], *, is_worker_s: bool = False) -> None:
    """Undo a fault at the second moment, or before the run is resumed."""
    scene.go()
    if len(scene.stops) == 1:
        if not is_worker_s:
            scene.mends.append(mend)
        return
    scene.at(1)
    mend()
    scene.go(1)


def delete(which: str) -> Fault:
    """A part of the run's folder is deleted."""

    def do(scene: Scene) -> None:
        path = scene.run.folder.path / which
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if which == "control":
            scene.ask("stop")
            time.sleep(1)
        scene.go()

    return do


def delete_checkpoints_and_kill(scene: Scene) -> None:
    """All checkpoints are deleted, and the worker is killed before there is another."""
    shutil.rmtree(scene.run.folder.checkpoints)
    kill(scene.at(0))


def lose_events(scene: Scene) -> None:
    """The events are deleted while the worker writes them."""
    scene.has_lost_events = True
    scene.run.folder.events.unlink()
    scene.go()


def spoil_checkpoint(name: str, how: str, count: int = 1) -> Fault:
    """The worker is killed, and a file in the newest checkpoints is cut off, loses a bit, or is gone."""

    def do(scene: Scene) -> None:
        kill(scene.at(0))
        for folder in sorted(scene.run.folder.checkpoints.glob("step-*"))[-count:]:
            scene.spoiled.add(folder.name)
            spoil(folder / name, how)

    return do


def spoil(path: Path, how: str) -> None:
    """Cut a file off, turn one bit in its middle (a high one is no text any more), or remove it."""
    content = bytearray(path.read_bytes())
    match how:
        case "cut off":
            path.write_bytes(content[: len(content) // 2])
        case "bit flipped" | "high bit flipped":
            content[len(content) // 2] ^= 4 if how == "bit flipped" else 128
            path.write_bytes(content)
        case "removed":
            path.unlink()


def spoil_events(how: str) -> Fault:
    """The worker is killed, and a line of the events loses its end or its first character's bit."""

    def do(scene: Scene) -> None:
        kill(scene.at(0))
        scene.run.wait_for_end()
        events = scene.run.folder.events
        lines = events.read_bytes().splitlines(keepends=True)
        if how == "torn":
            events.write_bytes(b"".join(lines)[:-20])
            return
        scene.has_lost_events = True
        place = next(place for place, line in enumerate(lines) if b'"event":"step"' in line)
        lines[place] = bytes([lines[place][0] ^ 4]) + lines[place][1:]
        events.write_bytes(b"".join(lines))

    return do


def spoil_for_a_while(name: str) -> Fault:
    """The worker is killed, and a file that a resume reads is torn until its person puts it back."""

    def do(scene: Scene) -> None:
        kill(scene.at(0))
        scene.run.wait_until_free()
        path = scene.run.folder.path / name
        kept = path.read_bytes()
        scene.wait_until_settled()
        path.write_bytes(kept[: len(kept) // 2])
        scene.endings.append(scene.words())
        scene.run.submit(resume=True)
        scene.mends.append(lambda: path.write_bytes(kept) and None)

    return do


def leave_nonsense(scene: Scene) -> None:
    """Torn and foreign files among the requests and in the queue; a whole request among them is heeded."""
    control = scene.run.folder.control
    (control / "torn.json").write_bytes(b'{"id": "1", "requ')
    (control / "flipped.json").write_bytes(b"\xff\xfe{}")
    (control / "folder.json").mkdir()
    (control / "dance.json").write_text('{"id": "2", "request": "dance"}')
    (scene.home.path / "data" / "queue" / "00000000000000000001-torn.json").write_bytes(b'{"folder": ')
    scene.ask("pause")
    time.sleep(1)
    (control / "folder.json").rmdir()
    scene.go()


def set_clock_back(days: int, *, is_killed: bool = False) -> Fault:
    """All clocks of the machine go back; perhaps the worker is killed then."""

    def do(scene: Scene) -> None:
        Path(os.environ[moments.CLOCK_VARIABLE]).write_text(str(-86400 * days))
        if is_killed:
            kill(scene.at(0))
        scene.go()

    return do


def start_second_keeper(scene: Scene) -> None:
    """Another keeper is started for the same data folder."""
    first = scene.home.keeper()
    assert run_keeper().wait(60) == 0
    assert scene.home.keeper() == first
    scene.go()


def start_second_keeper_meanwhile(scene: Scene) -> None:
    """Another keeper comes, and somebody resumes, while the first does not get to run."""
    first = scene.home.keeper()
    first.suspend()
    second = run_keeper()
    assert second.wait(60) == 0
    first.resume()
    scene.go()


def race_two_keepers(scene: Scene) -> None:
    """The run's processes die, and two keepers start at the same moment for its resume."""
    reboot(scene)
    scene.run.wait_until_free()
    scene.endings.append(scene.words())
    queue.enqueue(scene.run.folder, resume=True)
    two = [run_keeper(), run_keeper()]
    for keeper in two:
        assert keeper.wait(90) == 0


def run_keeper() -> subprocess.Popen[bytes]:
    """A keeper as a child of ours."""
    return subprocess.Popen([sys.executable, "-m", "tuner_tui.keeper"])


def starve(which: str) -> Fault:
    """The worker's memory is limited to little more than it has, and it asks for more."""

    def do(scene: Scene) -> None:
        pid = scene.at(0)
        memory = psutil.Process(pid).memory_info()
        held = memory.vms if which == "RLIMIT_AS" else memory.data
        resource.prlimit(pid, getattr(resource, which), (held + HEADROOM_BYTES, resource.RLIM_INFINITY))
        scene.go(0, "allocate")

    return do


def flood_log(scene: Scene) -> None:
    """A library prints 100 MB, and the worker is killed at the next moment."""
    scene.go(0, "flood")
    kill(scene.at(1))
    assert scene.run.folder.log.stat().st_size > 100 << 20


def mend_bad_loss(scene: Scene) -> None:
    """Nothing but the data's own fault; where the guard is to stop, its person then lets it skip."""
    spec = scene.run.folder.spec
    if "[guards]" not in spec.read_text():
        scene.mends.append(lambda: spec.write_text(spec.read_text() + '\n[guards]\non_bad_loss = "skip"\n'))
    scene.go()


def track_with(tracker: str) -> Fault:
    """The tracker that the settings name is not there, or fails from the fifth step on; the run says so once."""

    def do(scene: Scene) -> None:
        set_setting("trackers.report_to", tracker)
        scene.go()
        scene.run.wait_for_event(StepLogged, lambda event: event.step == 6)
        told = [each.message for each in scene.run.all(Warned) if each.message.startswith(tracker)]
        assert len(told) == 1, told

    return do
