"""Settings that mean something together: batch, warm-up, precision, evaluation, checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.importing.paths import on_this_machine
from tuner_tui.importing.values import has_option, number, plain_number, switch, whole, word

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Given, Rules

DTYPES = {
    "auto": "auto", "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "float32": "fp32",
    "fp32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float32": "fp32",
}  # fmt: skip
ADAPTER = "adapter_config.json"
WITH_LOWEST = "cosine_with_min_lr"
"""The schedule that ends at a tenth of the learning rate."""


def model(rules: Rules, source: str | None = None) -> None:
    """The base, its revision, and an adapter to start from."""
    if given := rules.role("model"):
        if isinstance(given.value, str) and given.value.strip():
            found = on_this_machine(given.value.strip(), rules.folders, is_model=True)
            rules.take(given, {"model.source": found or given.value.strip()})
        else:
            rules.refuse(given, "expected the name or folder of a model")
    if source is not None:
        rules.ledger.spec["model.source"] = source
    if given := rules.role("revision"):
        is_folder = Path(str(rules.ledger.spec.get("model.source", ""))).is_absolute()
        if given.value == "main" or is_folder:
            rules.skip(given, "the main branch is the default, and a folder has no branches")
        else:
            rules.take(given, {"model.revision": given.value})
    if given := rules.role("start_adapter"):
        folder = on_this_machine(given.value, rules.folders) if isinstance(given.value, str) else None
        if folder and (Path(folder) / ADAPTER).is_file():
            rules.take(given, {"model.adapter": folder}, is_converted=False)
        else:
            rules.refuse(given, "no folder with one adapter on this machine; set model.adapter once there is")


def batch(rules: Rules) -> None:
    """Micro-batch and accumulation make the rows per optimizer step."""
    micro, steps, total = rules.role("micro_batch"), rules.role("accumulation"), rules.role("total_batch")
    rows = _counted(rules, micro, rules.role_default("micro_batch") or 1)
    times = _counted(rules, steps, rules.role_default("accumulation") or 1)
    given_total = whole(total.value) if total else None
    if total and given_total and not steps and given_total % rows == 0:
        times = given_total // rows
        rules.take(
            total, {"training.batch_size": given_total}, "rows per optimizer step here; one GPU is assumed"
        )
    elif total:
        rules.refuse(total, "micro-batch and accumulation say it here")
    reason = f"training.batch_size is rows per optimizer step: micro-batch {rows} x accumulation {times}, on one GPU"
    if micro and whole(micro.value):
        rules.take(micro, {"training.micro_batch": rows, "training.batch_size": rows * times}, reason)
    if steps and whole(steps.value):
        rules.take(steps, {"training.batch_size": rows * times}, reason)
    if rules.role_default("micro_batch") is not None:
        rules.set_default(
            "training.batch_size", rows * times, f"{rules.default_reason('micro_batch')}: {rows} x {times}"
        )


def _counted(rules: Rules, given: Given | None, default: int) -> int:
    if given is None:
        return default
    found = whole(given.value)
    if found is None or found > 65536:
        rules.refuse(given, "expected a whole number from 1 to 65536")
        return default
    return found


def length_of_run(rules: Rules) -> None:
    """Epochs, or a number of steps in their place."""
    steps = rules.role("max_steps")
    count = whole(steps.value) if steps else None
    if steps and count is None:
        is_off = number(steps.value) in (0, -1)
        (rules.skip if is_off else rules.refuse)(
            steps, "no limit of steps" if is_off else "expected a whole number of steps"
        )
    elif steps:
        rules.take(steps, {"training.max_steps": count})
    epochs = rules.role("epochs")
    if epochs and number(epochs.value) == 0 and count:
        rules.skip(epochs, "the number of steps takes precedence")
    elif epochs:
        rules.take(epochs, {"training.epochs": plain_number(epochs.value)})
    elif count is None and rules.role_default("epochs") is not None:
        rules.set_default("training.epochs", rules.role_default("epochs"), rules.default_reason("epochs"))


def warm_up(rules: Rules, rows: int | None) -> None:
    """A share of the steps here; a number of steps is converted where the number of all steps is known."""
    steps, ratio = rules.role("warmup_steps"), rules.role("warmup_ratio")
    count = number(steps.value) if steps else None
    if steps and (count is None or count < 0):
        rules.refuse(steps, "expected a number of steps")
        steps = None
    if steps and count is not None and 0 < count < 1:
        rules.take(steps, {"training.warmup": count}, "below 1 it is a share of the steps")
    elif steps and count == 0 and ratio:
        rules.skip(steps, "the ratio takes precedence")
    elif steps and count == 0:
        rules.take(steps, {"training.warmup": 0.0}, "no warm-up")
    elif steps and count is not None:
        _warm_up_steps(rules, steps, int(count), total_steps(rules, rows))
    if ratio:
        if "training.warmup" in rules.ledger.spec:
            rules.refuse(ratio, "the number of steps takes precedence where both are given")
        else:
            rules.take(ratio, {"training.warmup": plain_number(ratio.value)})
    if steps or ratio:
        return
    share = rules.role_default("warmup_ratio")
    default_steps = rules.role_default("warmup_steps")
    if default_steps and (total := total_steps(rules, rows)) and default_steps < total:
        share = _share(default_steps, total)
    if share is not None:
        rules.set_default("training.warmup", share, rules.default_reason("warmup_ratio", "warmup_steps"))


def _warm_up_steps(rules: Rules, given: Given, count: int, total: int | None) -> None:
    if total is None:
        reason = (
            "a share of the steps here, and their number is not known without the data; set training.warmup to "
            f"{count} / (rows x epochs / batch size)"
        )
        rules.refuse(given, reason)
    elif count >= total:
        rules.refuse(given, f"the run has {total} steps, so all of it would be warm-up")
    else:
        rules.take(given, {"training.warmup": _share(count, total)}, f"a share: {count} of {total} steps")


def _share(count: int, total: int) -> float:
    """Rounded down, so that the share of the steps rounded up is the count again."""
    return math.floor(count / total * 1e6) / 1e6


def total_steps(rules: Rules, rows: int | None) -> int | None:
    """Optimizer steps of the run; None where the rows are not known."""
    if steps := rules.ledger.spec.get("training.max_steps"):
        return int(steps)
    epochs, each = number(rules.ledger.spec.get("training.epochs", 3.0)), steps_per_epoch(rules, rows)
    return max(1, math.ceil(epochs * each)) if epochs and each else None


def steps_per_epoch(rules: Rules, rows: int | None) -> int | None:
    """Optimizer steps of one pass over the rows that are trained on; None where the rows are not known."""
    spec = rules.ledger.spec
    size = whole(spec.get("training.batch_size", 8))
    share = number(spec.get("data.evaluation_share", 0)) or 0
    if rows is None or not size or spec.get("method.packing") or not 0 <= share < 1:
        return None
    return max(1, math.ceil((rows - math.ceil(rows * share)) / size))


def precision(rules: Rules) -> None:
    """How the base is loaded, of switches for bits and dtypes."""
    four, eight, bits = rules.role("load_4bit"), rules.role("load_8bit"), rules.role("bits")
    is_quantised = False
    wanted = {4: "nf4", 8: "int8"}
    for given, count in ((four, 4), (eight, 8), (bits, None)):
        if given is None:
            continue
        found = whole(given.value) if count is None else count
        if count is not None and switch(given.value) is False:
            rules.skip(given, "off or empty")
        elif (count is not None and switch(given.value) is None) or found not in wanted:
            rules.refuse(given, "4 bits (nf4) and 8 bits (int8) are supported")
        else:
            is_quantised |= rules.take(
                given,
                {"model.precision": wanted[found]},
                f"{wanted[found]} is the {found}-bit precision here",
            )
    if not (four or eight or bits) and rules.role_default("load_4bit") and _is_adapter(rules):
        rules.set_default("model.precision", "nf4", rules.default_reason("load_4bit"))
        is_quantised = "model.precision" in rules.ledger.spec
    if given := rules.role("quant_type"):
        is_here = word(given.value) == "nf4" or not is_quantised
        (rules.skip if is_here else rules.refuse)(given, "as here" if is_here else "4 bits are nf4 here")
    if given := rules.role("double_quant"):
        is_here = switch(given.value) is not False or not is_quantised
        if is_here:
            rules.skip(given, "as here")
        else:
            rules.ledger.close(given.file, [given.place], "not_needed", "nf4 has double quantisation here")
    _dtype(rules, is_quantised)


def _dtype(rules: Rules, is_quantised: bool) -> None:
    for role, name in (
        ("dtype", ""),
        ("pure_bf16", "bf16"),
        ("bf16", "bf16"),
        ("fp16", "fp16"),
        ("fp32", "fp32"),
    ):
        given = rules.role(role)
        if given is None:
            continue
        found = DTYPES.get(word(given.value) or "", "") if role == "dtype" else name
        if role != "dtype" and (switch(given.value) is False or word(given.value) == "none"):
            rules.skip(given, "off or empty")
        elif is_quantised:
            rules.skip(given, "a quantised base computes in the 16-bit dtype that is fast on this machine")
        elif role == "bf16" and word(given.value) == "auto":
            rules.take(given, {"model.precision": "auto"})
        elif not found or (
            role != "dtype"
            and switch(given.value) is None
            and word(given.value) not in (rules.role_default("on_words") or ())
        ):
            rules.refuse(given, "expected auto, bfloat16, float16, float32, or a switch")
        elif role in ("bf16", "fp16") and not _is_adapter(rules) and _full_weights(rules):
            weights = _full_weights(rules)
            if rules.ledger.spec.get("model.precision") not in (None, weights):
                rules.skip(given, "the dtype of the weights is given")
            else:
                reason = f"16-bit computation on {weights} weights, as full tuning on {weights} does here"
                rules.take(given, {"model.precision": weights}, reason)
        elif role in ("bf16", "fp16") and "model.precision" in rules.ledger.spec:
            rules.skip(given, "the dtype of the weights is given")
        else:
            rules.take(given, {"model.precision": found}, "the dtype in which the base is loaded")


def _is_adapter(rules: Rules) -> bool:
    from tuner_tui.config.tunings.traits import TRAITS, tuning_traits

    return rules.tuning not in TRAITS or tuning_traits(rules.tuning).is_adapter


def _full_weights(rules: Rules) -> str:
    return next((part.table.full_weights for part in rules.parts if part.table.full_weights), "")


def memory(rules: Rules) -> None:
    """Gradient checkpointing."""
    if given := rules.role("checkpointing"):
        text = word(given.value)
        if switch(given.value) is not None or text == "none":
            on = bool(switch(given.value)) and text != "none"
            rules.take(given, {"training.checkpointing": "on" if on else "off"}, is_converted=False)
        elif text in ("unsloth", "offload", "offload_disk"):
            rules.take(
                given, {"training.checkpointing": "on"}, "without offloading: activations are recomputed"
            )
        else:
            rules.refuse(given, "expected true or false")
    if given := rules.role("no_checkpointing"):
        if switch(given.value):
            rules.take(given, {"training.checkpointing": "off"}, "the opposite switch")
        else:
            rules.skip(given, "off or empty")


def packing(rules: Rules) -> None:
    """Several rows in one sequence, kept apart."""
    if given := rules.role("packing"):
        if not has_option("method.packing", rules.method, rules.tuning):
            rules.skip(given, f"{rules.method} does not pack rows here")
        elif switch(given.value):
            rules.take(
                given, {"method.packing": True}, "rows are packed whole, and attention keeps them apart"
            )
        elif switch(given.value) is False:
            rules.skip(given, "off or empty")
        else:
            rules.refuse(given, "expected true or false")


def schedule(rules: Rules) -> None:
    """A lowest learning rate belongs to a schedule of its own here."""
    if given := rules.role("min_lr_ratio"):
        if number(given.value) == 0.1 and rules.ledger.spec.get("training.schedule", "cosine") == "cosine":
            rules.ledger.change("training.schedule", WITH_LOWEST, f"with {given.key}")
            rules.take(given, {"training.schedule": WITH_LOWEST}, "falls to a tenth of the learning rate")
        else:
            rules.refuse(
                given, "cosine_with_min_lr falls to a tenth of the learning rate; other shares are not"
            )


def held_out(rules: Rules, rows: int | None) -> None:
    """A share of the rows that is held out, when rows are evaluated, and when checkpoints are saved."""
    if given := rules.role("val_share"):
        share = number(given.value)
        if share == 0:
            rules.skip(given, "no rows are held out")
        elif share is not None and 0 < share < 1:
            rules.take(given, {"data.evaluation_share": share}, "a share of the training rows")
        elif share is not None and share >= 1 and rows and share < rows:
            made = math.floor(share / rows * 1e6) / 1e6
            rules.take(given, {"data.evaluation_share": made}, f"a share: {share} of {rows} rows")
        else:
            rules.refuse(
                given,
                "a share of the rows here, and a number of rows needs the data; set data.evaluation_share",
            )
    per_epoch = steps_per_epoch(rules, rows)
    _rhythm(rules, "eval", "evaluation.every_steps", per_epoch)
    _rhythm(rules, "save", "checkpoints.every_steps", per_epoch)


def _rhythm(rules: Rules, what: str, key: str, epoch_steps: int | None) -> None:
    has_rows = any(name in rules.ledger.spec for name in ("data.evaluation", "data.evaluation_share"))
    strategy, steps, per_epoch = (
        rules.role(f"{what}_strategy"),
        rules.role(f"{what}_steps"),
        rules.role(f"{what}s_per_epoch"),
    )
    kind = word(strategy.value) if strategy else None
    if strategy and (
        kind in ("epoch", "steps") or (what == "eval" and kind in ("no", "false") and not has_rows)
    ):
        rules.skip(strategy, "as here: at each epoch's end, or at the steps that are given")
    elif strategy and kind in ("no", "false"):
        rules.refuse(
            strategy,
            "held-out rows are evaluated at each epoch's end"
            if what == "eval"
            else "checkpoints are saved at each epoch's end, so that a run can be resumed",
        )
    elif strategy:
        rules.refuse(strategy, "expected no, epoch or steps")
    if steps:
        _steps(
            rules, steps, key, is_used=kind not in ("epoch", "no", "false") and (what != "eval" or has_rows)
        )
    if per_epoch and whole(per_epoch.value) == 1:
        rules.skip(per_epoch, "as here: at each epoch's end")
    elif per_epoch and number(per_epoch.value) == 0:
        rules.skip(per_epoch, "off or empty")
    elif per_epoch and (times := whole(per_epoch.value)) and epoch_steps and (what == "save" or has_rows):
        reason = f"{times} times in an epoch of {epoch_steps} steps"
        rules.take(per_epoch, {key: max(1, epoch_steps // times)}, reason)
    elif per_epoch and what == "eval" and not has_rows:
        rules.skip(per_epoch, "no rows are held out")
    elif per_epoch:
        rules.refuse(per_epoch, f"counted in steps here; set {key}")


def _steps(rules: Rules, given: Given, key: str, *, is_used: bool) -> None:
    count = number(given.value)
    total = rules.ledger.spec.get("training.max_steps")
    if not is_used or count == 0:
        rules.skip(given, "it is not used")
    elif count is not None and 0 < count < 1 and total:
        rules.take(given, {key: max(1, math.ceil(count * total))}, f"a share of {total} steps")
    elif whole(given.value):
        rules.take(given, {key: whole(given.value)})
    else:
        rules.refuse(given, f"expected a number of steps; set {key}")
