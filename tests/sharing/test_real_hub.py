"""One look at the real Hub, read only: the session's own client reaches it and reads what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tuner_tui.sharing import hub
from tuner_tui.sharing.hub_protocol import DownloadRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.hub
def test_a_small_public_model_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    request = DownloadRequest(repo_id="hf-internal-testing/tiny-random-LlamaForCausalLM")
    done = hub.download(request, lambda event: None)
    assert done.files > 2
    assert hub.download(request, lambda event: None) == done
