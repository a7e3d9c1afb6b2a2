"""`tuner-tui probe`: three real steps on the longest rows, compared with the estimate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli.output import fill, plain

if TYPE_CHECKING:
    from tuner_tui.keeper.probe import Probed

GB = 1_000_000_000


@click.command()
@click.argument("spec")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change an option, e.g. tuning.rank=32."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def probe(spec: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Run three steps of SPEC, a run.toml or preset, on its longest rows, and measure them.

    Only the figures are saved; they make later estimates on this machine more accurate.
    """
    from tuner_tui.cli.train import _read, _with_settings
    from tuner_tui.feedback.as_data import with_collections
    from tuner_tui.keeper.probe import run_probe

    wanted = with_collections(_with_settings(_read(spec), settings))
    if not as_json:
        click.echo("Running three steps on the longest rows; loading takes a while.", err=True)
    probed = run_probe(wanted)
    if as_json:
        click.echo(json.dumps(as_dict(probed), indent=2))
        return
    for line in report(probed):
        click.echo(line)


def report(probed: Probed) -> list[str]:
    """The measurement compared with the estimate, as text."""
    measured = probed.measured
    what = "allocated" if measured.is_gpu else "memory grew by"
    error = (
        100 * (measured.predicted_bytes / measured.allocated_bytes - 1) if measured.allocated_bytes else 0.0
    )
    lines = [
        plain(f"{measured.model_name} on {measured.device_name}"),
        f"{measured.loaded_as}, {measured.method}, {measured.tuning}",
        f"micro-batch {measured.micro_batch} x {measured.length} tokens, "
        f"checkpointing {'on' if measured.is_checkpointing else 'off'}",
        "",
        f"{what:<18}{measured.allocated_bytes / GB:>8.2f} GB",
        f"{'estimated':<18}{measured.predicted_bytes / GB:>8.2f} GB  ({error:+.1f} %)",
    ]
    if measured.reserved_bytes:
        lines.append(f"{'reserved':<18}{measured.reserved_bytes / GB:>8.2f} GB")
    if measured.context_bytes is not None:
        name = "outside of it" if measured.is_gpu else "before the model"
        lines.append(f"{name:<18}{measured.context_bytes / GB:>8.2f} GB")
    if measured.seconds_per_step:
        speed = f", {measured.tokens_per_second:.0f} tokens/s" if measured.tokens_per_second else ""
        lines.append(f"{'per step':<18}{measured.seconds_per_step:>8.2f} s{speed}")
    if probed.plan.memory is not None:
        memory = probed.plan.memory
        spread = f"{memory.low_bytes / GB:.1f} to {memory.high_bytes / GB:.1f} GB"
        lines.append(fill(f"The estimate was {spread} in total. The probe took {probed.seconds:.0f} s."))
    return lines


def as_dict(probed: Probed) -> dict[str, Any]:
    """The figures for JSON."""
    import msgspec

    measured: dict[str, Any] = msgspec.to_builtins(probed.measured)
    memory = None if probed.plan.memory is None else msgspec.to_builtins(probed.plan.memory)
    return {"measured": measured, "planned": memory, "seconds": round(probed.seconds, 1)}
