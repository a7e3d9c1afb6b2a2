"""`python -m tests.benchmarks.export`: memory and time of merging a 1-billion-parameter model, ours and PEFT's.

A random Llama in bf16 with a random LoRA adapter. Each way runs in a process of its own; peak memory is that process's
largest resident set (`ru_maxrss`). PEFT's way loads the model, merges with `merge_and_unload` and saves.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 32000},
    "small": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 4096},
}


def make(folder: Path, size: str) -> None:
    """Save a random model and adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from tests.tiny_model import make_tiny_model

    make_tiny_model(folder / "tiny")
    config = LlamaConfig(
        num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=False, **SHAPES[size]
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    model.tie_weights()
    model.save_pretrained(folder / "model", max_shard_size="50GB")
    AutoTokenizer.from_pretrained(folder / "tiny").save_pretrained(folder / "model")
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    tuned = get_peft_model(model, lora)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01)
    tuned.save_pretrained(folder / "adapter")


def peft_merge(folder: Path) -> None:
    """Load all, merge, save all."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(model, str(folder / "adapter")).merge_and_unload()
    merged.save_pretrained(folder / "peft", max_shard_size="50GB")


def our_merge(folder: Path) -> None:
    """Merge tensor by tensor into safetensors."""
    from tuner_tui.worker.export.base_weights import BaseWeights
    from tuner_tui.worker.export.merge import MergedWeights, write_merged
    from tuner_tui.worker.export.updates import read_updates

    (folder / "ours").mkdir(exist_ok=True)
    merged = MergedWeights(BaseWeights(folder / "model"), read_updates(folder / "adapter"))
    write_merged(merged, folder / "ours", lambda done, total: None)


def our_gguf(folder: Path, quant: str) -> None:
    """Merge tensor by tensor into one GGUF."""
    from transformers import AutoTokenizer

    from tuner_tui.worker.export.base_weights import BaseWeights
    from tuner_tui.worker.export.gguf_write import write_gguf_model
    from tuner_tui.worker.export.merge import MergedWeights
    from tuner_tui.worker.export.updates import read_updates

    merged = MergedWeights(BaseWeights(folder / "model"), read_updates(folder / "adapter"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    target = folder / f"{quant}.gguf"
    write_gguf_model(merged, tokenizer, folder / "model", target, quant, None, lambda done, total: None)


def largest_difference(folder: Path) -> float:
    """Between the two merged models' tensors, in units of the larger magnitude."""
    from safetensors import safe_open

    worst = 0.0
    with (
        safe_open(folder / "peft" / "model.safetensors", "pt") as theirs,
        safe_open(folder / "ours" / "model.safetensors", "pt") as ours,
    ):
        for name in ours.keys():  # noqa: SIM118 - not a mapping
            one, two = ours.get_tensor(name).float(), theirs.get_tensor(name).float()
            worst = max(worst, ((one - two).abs().max() / two.abs().max()).item())
    return worst


WAYS = {
    "peft": peft_merge,
    "merged": our_merge,
    "gguf f16": lambda folder: our_gguf(folder, "f16"),
    "gguf q8_0": lambda folder: our_gguf(folder, "q8_0"),
}


def measured(way: str, folder: Path) -> dict[str, float]:
    """Seconds (imports included) and peak bytes of one way in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.export", "--way", way, "--folder", str(folder)]
    started = time.monotonic()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {"seconds": time.monotonic() - started, **json.loads(out.splitlines()[-1])}


def main() -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*SHAPES], default="1b")
    parser.add_argument("--way", choices=[*WAYS, "make"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way == "make":
        make(options.folder, options.size)
        return
    if options.way:
        WAYS[options.way](options.folder)  # type: ignore[no-untyped-call]
        print(json.dumps({"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
        return
    with tempfile.TemporaryDirectory(prefix="tuner-tui-export-", dir=options.folder) as scratch:
        folder = Path(scratch)
        command = [sys.executable, "-m", "tests.benchmarks.export", "--way", "make", "--size", options.size]
        subprocess.run([*command, "--folder", scratch], check=True, capture_output=True)
        size = (folder / "model" / "model.safetensors").stat().st_size
        print(f"model: {size / 2e9:.2f} billion parameters in bf16, {size / 1e9:.2f} GB")
        reference = measured("peft", folder)
        print(f"{'peft':<10} {reference['seconds']:6.1f} s  peak {reference['peak_bytes'] / 1e9:5.2f} GB")
        for way in [*WAYS][1:]:
            found = measured(way, folder)
            share = found["peak_bytes"] / reference["peak_bytes"]
            print(
                f"{way:<10} {found['seconds']:6.1f} s  peak {found['peak_bytes'] / 1e9:5.2f} GB  {share:.2f} of peft's"
            )
        print(
            f"largest difference between the two merges: {largest_difference(folder):.2g} of a tensor's largest weight"
        )


if __name__ == "__main__":
    main()
