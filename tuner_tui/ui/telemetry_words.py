"""A run's telemetry as gauges; what was not measured is shown as unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.config.settings import money_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner_tui.hardware.telemetry import TelemetrySample

GIGABYTE = 1e9


class Gauge(NamedTuple):
    """One measure: its name, its value as text, and its recent history from 0 to 1."""

    name: str
    words: str
    series: tuple[float, ...]
    is_known: bool = True
    is_hot: bool = False
    """Whether it needs attention, such as throttling."""
    more: str = ""
    """Details for where there is room."""


def gauges(samples: Sequence[TelemetrySample], uses_gpu: bool | None, *, is_live: bool = True) -> list[Gauge]:
    """All gauges; a single one says when there is no sample.

    `uses_gpu` is None until the run says where it trains; a GPU without readings is then not spoken of.
    """
    if not samples:
        return [Gauge("machine", "no readings yet" if is_live else "no readings", (), False)]
    last = samples[-1]
    gauge_list = _gpu_gauges(samples, last) if _knows_gpu(last) else _no_gpu(uses_gpu)
    gauge_list.append(_gauge("CPU", samples, lambda s: s.cpu_percent, 100, "{:.0f} %", _run_share(last)))
    ram_total = last.ram_total_bytes
    if ram_total is None or last.ram_available_bytes is None:
        gauge_list.append(Gauge("RAM", "unknown", (), False))
    else:
        used = (ram_total - last.ram_available_bytes) / GIGABYTE
        mine = "" if last.run_ram_bytes is None else f"run {last.run_ram_bytes / GIGABYTE:.1f}"
        series = _series(
            samples,
            lambda s: None if s.ram_available_bytes is None else ram_total - s.ram_available_bytes,
            ram_total,
        )
        gauge_list.append(Gauge("RAM", f"{used:.1f}/{ram_total / GIGABYTE:.1f} GB", series, more=mine))
    if last.energy_wh is None:
        gauge_list.append(Gauge("energy", "unknown", (), False))
    else:
        cost = money_words(last.energy_wh)
        gauge_list.append(Gauge("energy", f"{last.energy_wh:.1f} Wh", (), more=cost))
    return gauge_list


def _gpu_gauges(samples: Sequence[TelemetrySample], last: TelemetrySample) -> list[Gauge]:
    throttled = ", ".join(last.throttle_reasons or ())
    total = last.gpu_memory_total_bytes
    memory = Gauge("GPU memory", "unknown", (), False)
    if last.gpu_memory_used_bytes is not None and total:
        words = f"{last.gpu_memory_used_bytes / GIGABYTE:.1f}/{total / GIGABYTE:.1f} GB"
        more = ""
        if last.gpu_memory_others_bytes and last.gpu_memory_others_bytes > 3e8:
            more = f"others {last.gpu_memory_others_bytes / GIGABYTE:.1f}"
        series = _series(samples, lambda s: s.gpu_memory_used_bytes, total)
        memory = Gauge("GPU memory", words, series, more=more)
    heat = _gauge("heat", samples, lambda s: s.temperature_celsius, 100, "{:.0f} °C")
    if throttled:
        heat = heat._replace(words=f"{heat.words} slowed: {throttled}", is_hot=True)
    watts = max((s.power_watts for s in samples if s.power_watts is not None), default=0.0)
    return [
        _gauge("GPU", samples, lambda s: s.gpu_percent, 100, "{:.0f} %"),
        memory,
        heat,
        _gauge("power", samples, lambda s: s.power_watts, watts or 1.0, "{:.0f} W"),
    ]


def _gauge(
    name: str,
    samples: Sequence[TelemetrySample],
    read: Callable[[TelemetrySample], float | None],
    full: float,
    form: str,
    more: str = "",
) -> Gauge:
    value = read(samples[-1])
    if value is None:
        return Gauge(name, "unknown", _series(samples, read, full), False)
    return Gauge(name, form.format(value), _series(samples, read, full), more=more)


def _series(
    samples: Sequence[TelemetrySample], read: Callable[[TelemetrySample], float | None], full: float
) -> tuple[float, ...]:
    values = [read(sample) for sample in samples]
    return tuple(min(1.0, max(0.0, value / full)) for value in values if value is not None)


def _knows_gpu(sample: TelemetrySample) -> bool:
    known = (sample.gpu_percent, sample.gpu_memory_used_bytes, sample.power_watts, sample.temperature_celsius)
    return any(value is not None for value in known)


def _no_gpu(uses_gpu: bool | None) -> list[Gauge]:
    if uses_gpu is None:
        return []
    return [Gauge("GPU", "unknown: no readings" if uses_gpu else "not used: trains on the CPU", (), False)]


def _run_share(sample: TelemetrySample) -> str:
    return "" if sample.run_cpu_percent is None else f"run {sample.run_cpu_percent:.0f}"
