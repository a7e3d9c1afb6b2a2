"""Reads this machine's hardware and settings in a thread while Home is shown."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from textual.message import Message

from tuner_tui.config import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.ui.hardware_words import Machine

MACHINE_EVERY_SECONDS = 3.0


class MachineRead(Message):
    """The hardware was read."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, MachineRead)


class SettingsLookedAt(Message):
    """The settings were read; `problem` is empty when they are valid."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class MachineWatch:
    """One thread's work: posts the machine every few seconds, and whether the settings are valid."""

    def __init__(self, post: Callable[[Message], object], tell_app: Callable[[Message], object]) -> None:
        """`post` gets the machine, `tell_app` the look at the settings."""
        self.is_paused = False
        self._post = post
        self._tell_app = tell_app
        self._has_ended = threading.Event()

    def end(self) -> None:
        self._has_ended.set()

    def run(self) -> None:
        """Read until the end."""
        from tuner_tui.hardware.gpu import GpuReader
        from tuner_tui.hardware.system import SystemReader
        from tuner_tui.ui.hardware_words import read_machine, read_troubles, settings_trouble

        system = SystemReader()
        with GpuReader() as gpus:
            self._post(MachineRead(read_machine(gpus, system, settings_trouble())))
            troubles = read_troubles(gpus, paths.data_dir())
            while not self._has_ended.is_set():
                of_settings = settings_trouble()
                self._tell_app(SettingsLookedAt(" ".join(of_settings)))
                if not self.is_paused:
                    self._post(MachineRead(read_machine(gpus, system, (*of_settings, *troubles))))
                self._has_ended.wait(MACHINE_EVERY_SECONDS)
