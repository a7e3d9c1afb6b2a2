"""A closed token microscope starts no worker for requests that still waited for it."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

import pytest

from tuner_tui.errors import TunerError
from tuner_tui.keeper.microscope import Microscope


def test_a_request_that_waited_while_it_was_closed_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **named: started.append(arguments))
    microscope = Microscope()
    refusals: list[TunerError] = []

    def ask() -> None:
        with pytest.raises(TunerError) as raised:
            microscope.warm_up()
        refusals.append(raised.value)

    microscope._asking.acquire()
    waiting = threading.Thread(target=ask)
    closing = threading.Thread(target=microscope.close)
    closing.start()
    waiting.start()
    while not microscope._is_closed:
        pass
    microscope._asking.release()
    waiting.join(10)
    closing.join(10)
    assert started == []
    assert [error.title for error in refusals] == ["The token microscope is closed"]
