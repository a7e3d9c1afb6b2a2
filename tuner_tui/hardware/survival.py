"""Whether a run continues after logout or closing the window, and how to achieve that if not."""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path

import msgspec

from tuner_tui.hardware.system import ROOT, in_container, platform_kind

SYSTEMD_FOLDERS = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd")
"""systemd's search path, highest priority first; a drop-in hides those of the same name in later folders."""

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish", "ash", "ksh", "tuner-tui"})
TRUE_WORDS = frozenset({"yes", "y", "true", "t", "on", "1"})
LINGER_REMEDY = "Let your processes stay after logout:\nloginctl enable-linger"
SCOPE_REMEDY = (
    "Start the app outside the login session:\nloginctl enable-linger\nsystemd-run --user --scope tuner-tui"
)
WSL_REMEDY = (
    "Keep one WSL window open while a run lasts, or put these lines into .wslconfig in your Windows user "
    "folder and run wsl --shutdown once:\n[general]\ninstanceIdleTimeout=-1\n[wsl2]\nvmIdleTimeout=-1"
)


class Survival(msgspec.Struct, frozen=True):
    """Whether a run continues after its window is closed; `None` if unknown."""

    survives: bool | None
    reason: str
    remedy: str = ""


class LogindSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What logind does with the processes of a login session that ends."""

    kill_user_processes: bool | None = None
    kill_only_users: tuple[str, ...] = ()
    kill_exclude_users: tuple[str, ...] = ("root",)

    def kills(self, user: str) -> bool | None:
        """Whether this user's processes end with the session."""
        if user in self.kill_exclude_users:
            return False
        if self.kill_only_users and user not in self.kill_only_users:
            return False
        return self.kill_user_processes


def logout_survival(root: Path = ROOT, user: str | None = None, platform: str = sys.platform) -> Survival:
    """Whether a run continues when its user logs out, loses the SSH connection or closes the window."""
    kind = platform_kind(root, platform)
    if kind in ("macos", "windows"):
        return Survival(None, "Not known on this system.", "Stay logged in while a run lasts.")
    if in_container(root):
        return _in_container(root)
    if kind == "wsl2":
        return _in_wsl(root)
    if not (root / "run/systemd/system").is_dir():
        return Survival(True, "Nothing here ends processes at logout (no systemd).")
    return _under_systemd(root, user or _user_name())


@functools.cache
def why_it_ends() -> str:
    """Why a run would end at logout, to warn before it starts; empty if it would continue."""
    survival = logout_survival()
    return survival.reason if survival.survives is False else ""


def read_logind_settings(root: Path = ROOT) -> LogindSettings:
    """logind's settings: the main file, then the drop-ins in order of their names."""
    values: dict[str, str] = {}
    for path in _logind_files(root):
        values.update(_login_section(path))
    kill = values.get("KillUserProcesses")
    return LogindSettings(
        kill_user_processes=_compiled_default(root) if kill is None else kill.lower() in TRUE_WORDS,
        kill_only_users=tuple(values.get("KillOnlyUsers", "").split()),
        kill_exclude_users=tuple(values.get("KillExcludeUsers", "root").split()),
    )


def _under_systemd(root: Path, user: str) -> Survival:
    """Inside the user manager only linger counts, inside a login session only KillUserProcesses."""
    group = _control_group(root)
    if re.search(r"/user@\d+\.service(/|$)", group):
        if (root / "var/lib/systemd/linger" / user).exists():
            return Survival(True, "Your processes stay after logout (linger is on).")
        return Survival(
            False, "This desktop session's processes end at logout (linger is off).", LINGER_REMEDY
        )
    if "/session-" not in group:
        return Survival(True, "This shell belongs to no login session, so no logout ends it.")
    kills = read_logind_settings(root).kills(user)
    if kills is None:
        return Survival(None, "systemd's KillUserProcesses setting cannot be read here.", SCOPE_REMEDY)
    if kills:
        return Survival(False, "systemd ends your processes at logout (KillUserProcesses=yes).", SCOPE_REMEDY)
    return Survival(True, "systemd leaves your processes alone at logout (KillUserProcesses=no).")


def _in_wsl(root: Path) -> Survival:
    """WSL stops an instance that has no window, and then its virtual machine."""
    instance, machine = _wsl_timeouts(root)
    if instance is not None and instance < 0:
        return Survival(True, "WSL stays up without a window (instanceIdleTimeout=-1 in .wslconfig).")
    if machine is not None and machine < 0:
        reason = "WSL's machine stays up (vmIdleTimeout=-1), but this Linux may stop without a window."
        return Survival(None, reason, WSL_REMEDY)
    return Survival(False, "WSL stops soon after its last window closes, and the run with it.", WSL_REMEDY)


def _wsl_timeouts(root: Path) -> tuple[int | None, int | None]:
    """The instance's and the machine's idle time-out in ms; unknown when several Windows users disagree."""
    timeouts: dict[str, set[int]] = {"instanceidletimeout": set(), "vmidletimeout": set()}
    for path in _glob(root / "mnt/c/Users", "*/.wslconfig"):
        for line in _lines(path):
            key, _, value = (part.strip() for part in line.partition("="))
            if key.lower() in timeouts and re.fullmatch(r"-?\d+", value):
                timeouts[key.lower()].add(int(value))
    instance, machine = (values.pop() if len(values) == 1 else None for values in timeouts.values())
    return instance, machine


def _in_container(root: Path) -> Survival:
    main = " ".join(_lines(root / "proc/1/comm")).strip() or "its main process"
    if main in SHELLS:
        reason = f"This container ends when its main process, {main}, ends, and the run with it."
        return Survival(False, reason, "Start the container detached (docker run -d) and enter it.")
    return Survival(None, f"A run here lives as long as the container's main process ({main}).")


def _control_group(root: Path) -> str:
    """This process's control group, in version 2 or 1."""
    lines = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    groups = [parts[2] for parts in lines if parts[1] in ("", "name=systemd")]
    return next((group for group in groups if group != "/"), "/")


def _logind_files(root: Path) -> list[Path]:
    mains = [root / folder / "logind.conf" for folder in SYSTEMD_FOLDERS]
    drop_ins: dict[str, Path] = {}
    for folder in SYSTEMD_FOLDERS:
        for path in _glob(root / folder / "logind.conf.d", "*.conf"):
            drop_ins.setdefault(path.name, path)
    return [path for path in mains if path.is_file()][:1] + [drop_ins[name] for name in sorted(drop_ins)]


def _login_section(path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    section = ""
    for line in (line.strip() for line in _lines(path)):
        if line.startswith("["):
            section = line
        elif section == "[Login]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            values[key.strip()] = value.strip()
    return values


def _compiled_default(root: Path) -> bool | None:
    """Distributions ship the file with their own default commented out."""
    for folder in reversed(SYSTEMD_FOLDERS):
        for line in _lines(root / folder / "logind.conf"):
            default = re.fullmatch(r"#\s*KillUserProcesses\s*=\s*(\w+)\s*", line)
            if default:
                return default[1].lower() in TRUE_WORDS
    return None


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    """A file's lines, none when it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
