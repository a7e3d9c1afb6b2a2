"""The probe in Review: three real steps in the background, compared with the estimate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import work
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tuner_tui.errors import TunerError
from tuner_tui.text import duration, size
from tuner_tui.ui.background import in_background
from tuner_tui.ui.widgets.literal import literal, literal_lines

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.keeper.probe import Probed, ProbeHandle

OFFER = "t runs a probe: three real steps on your longest rows, measured"


class ProbeLine(Static):
    """Runs one probe at a time; the last figures stay, marked when settings have changed."""

    DEFAULT_CSS = "ProbeLine { height: auto; max-height: 6; padding: 0 1; margin-bottom: 1; }"

    class Ended(Message):
        """A probe gave figures, which are kept with the others."""

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._handle: ProbeHandle | None = None
        self._began = 0.0
        self._found: Probed | None = None
        self._asked: RunSpec | None = None
        self._error: TunerError | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether a probe is being made."""
        return self._handle is not None

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self._show()

    def on_unmount(self) -> None:
        self.cancel()

    def start(self, spec: RunSpec) -> None:
        """Probe a spec, unless one is being probed."""
        if self._handle is not None:
            return
        from tuner_tui.keeper.probe import ProbeHandle

        self._handle, self._began = ProbeHandle(), time.monotonic()
        self._found, self._error, self._asked = None, None, spec
        self._show()
        self._probe(spec, self._handle)

    def cancel(self) -> None:
        """End the probe that is being made."""
        if self._handle is not None:
            self._handle.cancel()

    def forget_settings(self, spec: RunSpec) -> None:
        """The settings are these now; figures of others are marked."""
        if self._asked is not None and self._asked != spec:
            self._asked = None
            self._show()

    @work(exclusive=True, group="probe", exit_on_error=False)
    async def _probe(self, spec: RunSpec, handle: ProbeHandle) -> None:
        from tuner_tui.feedback.as_data import with_collections
        from tuner_tui.keeper.probe import ProbeCancelled, run_probe

        try:
            self._found = await in_background(lambda: run_probe(with_collections(spec), handle=handle))
        except ProbeCancelled:
            pass
        except TunerError as error:
            self._error = error
        except OSError as error:
            self._error = TunerError("The probe cannot be started", f"{error.strerror or error}.")
        except Exception as error:  # a by-product must not take the screen down
            self.log.error(error)
            self._error = TunerError("The probe failed", f"{type(error).__name__}: {error}")
        self._handle = None
        if self.is_attached:
            self._show()
            self.post_message(self.Ended())

    def _tick(self) -> None:
        if self._handle is not None:
            self._show()

    def _show(self) -> None:
        if self._handle is not None:
            passed = duration(time.monotonic() - self._began)
            self.update(literal(f"Probing, {passed}: three steps on your longest rows. t ends it."))
        elif self._error is not None:
            words = (self._error.title, self._error.message, self._error.hint)
            self.update(literal_lines("\n".join(line for line in words if line), "$error"))
        elif self._found is not None:
            self.update(probed_words(self._found, is_current=self._asked is not None))
        else:
            self.update(literal(OFFER, "$faint"))


def probed_words(probed: Probed, *, is_current: bool) -> Content:
    """The figures beside the estimate, two lines."""
    measured = probed.measured
    error = 100 * (measured.predicted_bytes / max(measured.allocated_bytes, 1) - 1)
    what = "allocated" if measured.is_gpu else "without its libraries"
    taken, estimated = size(measured.allocated_bytes), size(measured.predicted_bytes)
    first = f"Probed: {taken} {what}, {estimated} estimated ({error:+.0f} %)"
    rest = []
    if measured.is_gpu and measured.reserved_bytes:
        shown = measured.reserved_bytes + (measured.context_bytes or 0)
        rest += [f"reserved {size(measured.reserved_bytes)}", f"the driver reports {size(shown)}"]
    if measured.seconds_per_step:
        rest.append(f"{measured.micro_batch} x {measured.length} tokens per micro-batch")
    if measured.tokens_per_second:
        rest.append(f"{measured.tokens_per_second:,.0f} tokens/s")
    old = [] if is_current else [Content.styled("Settings have changed since; t probes again.", "$warning")]
    return Content("\n").join([literal(first), literal("; ".join(rest), "$secondary"), *old])
