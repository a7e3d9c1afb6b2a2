"""What a training step allocates, found without a GPU: the real model and TRL's real loss on tensors without data."""

from __future__ import annotations

import contextlib
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AutoModelForCausalLM, AutoModelForSequenceClassification
from trl.trainer.utils import add_fused_lm_head, selective_log_softmax

from tuner_tui.models.architectures import architecture

FLASH = "as_on_a_gpu"


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.at_peak: dict[str, int] = {}
        self._known: dict[int, weakref.ref[Any]] = {}
        self._names: dict[int, tuple[str, int]] = {}
        self._phase = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor, str(func))
        return result

    def see(self, tensor: torch.Tensor, name: str = "") -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, partial(self._gone, key, size))
        self._names[key] = (f"{self._phase} {name} {tuple(tensor.shape)} {tensor.dtype}", size)
        self.now += size
        if self.now > self.peak:
            self.peak = self.now
            self._snapshot()

    def phase(self, words: str) -> None:
        """Name what is counted from now on, and start a new peak."""
        self._phase, self.peak = words, self.now

    want_snapshot = False

    def _snapshot(self) -> None:
        if self.want_snapshot:
            self.at_peak = {}
            for name, size in self._names.values():
                self.at_peak[name] = self.at_peak.get(name, 0) + size

    def _gone(self, key: int, size: int, _: object) -> None:
        self.now -= size
        del self._known[key]
        self._names.pop(key, None)


def _flash(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None,
    dropout: float = 0.0, **kwargs: Any,
) -> Any:  # fmt: skip
    if torch.is_autocast_enabled("cpu"):  # as torch does before its own attention
        short = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(short), key.to(short), value.to(short)
    out = torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, dropout, True, False, scale=scaling
    )[0]
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLASH, _flash)


@dataclass(frozen=True)
class FakeRun:
    """One configuration of a training step."""

    config: Any
    method: Literal["sft", "dpo", "reward", "orpo"] = "sft"
    tuning: Literal["full", "lora", "ia3"] = "lora"
    dtype: torch.dtype = torch.bfloat16
    autocast: bool = True
    checkpointing: bool = True
    rows: int = 2
    length: int = 2048
    rank: int = 16
    targets: Any = "all-linear"
    adapter_dtype: torch.dtype = torch.float32
    dropout: float = 0.0
    dora: bool = False
    fused_optimizer: bool = True
    liger: bool = False


@dataclass(frozen=True)
class Measured:
    """Peaks in bytes of each part of a step, and what is alive between steps."""

    static: int
    forward: int
    backward: int
    step: int
    at_peak: dict[str, int]

    @property
    def peak(self) -> int:
        """The largest."""
        return max(self.forward, self.backward, self.step)


@contextlib.contextmanager
def _gpu_loss() -> Iterator[None]:
    """TRL's fused head as it allocates on a GPU: its CPU fallbacks do nothing."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    with contextlib.ExitStack() as stack:
        for name in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
            stack.enter_context(patch(f"trl.kernels.chunked_logprob.{name}", nothing))
        # moving a module's fake parameters swaps tensors, which fake mode's weak references forbid
        stack.enter_context(
            patch("torch.utils.swap_tensors", lambda old, new: setattr(old, "data", new.data))
        )
        yield


def measure(run: FakeRun, *, keep_snapshot: bool = False) -> Measured:
    """Two steps; the second one's peaks, when the optimizer has its states."""
    with _gpu_loss(), FakeTensorMode(allow_non_fake_inputs=True):
        live = LiveBytes()
        with live:
            return _measure(run, live, keep_snapshot)


def _measure(run: FakeRun, live: LiveBytes, keep_snapshot: bool) -> Measured:
    model = _build(run)
    reference = _reference(run)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=1e-4, fused=run.fused_optimizer, foreach=not run.fused_optimizer
    )
    rows = run.rows if run.method == "sft" else 2 * run.rows
    ids = torch.zeros((rows, run.length), dtype=torch.long)
    peaks: dict[str, int] = {}
    static = 0
    snapshots: dict[str, dict[str, int]] = {}
    for _ in range(2):
        static = live.now
        live.phase("forward")
        live.want_snapshot = keep_snapshot
        loss = _loss(run, model, reference, ids)
        peaks["forward"], snapshots["forward"] = live.peak, live.at_peak
        live.phase("backward")
        live.at_peak = {}
        loss.backward()
        peaks["backward"], snapshots["backward"] = live.peak, live.at_peak
        live.phase("step")
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        peaks["step"], snapshots["step"] = live.peak, live.at_peak
        optimizer.zero_grad()
        del loss
    highest = max(peaks, key=lambda name: peaks[name])
    return Measured(static, peaks["forward"], peaks["backward"], peaks["step"], snapshots[highest])


def _attention(config: Any) -> str:
    """Flash attention as on a GPU; eager, where the model's classes know nothing else."""
    known = architecture(config.model_type)
    return FLASH if known is None or known.attention else "eager"


def _build(run: FakeRun) -> Any:
    config = run.config
    config._attn_implementation = _attention(config)
    if run.method == "reward":
        config.num_labels, config.pad_token_id = 1, 0
        model = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            config, dtype=run.dtype, attn_implementation=_attention(config)
        )
    else:
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=run.dtype, attn_implementation=_attention(config)
        )
        outputs = (
            ("log_probs", "entropy", "is_top1")
            if run.method == "sft"
            else ("log_probs", "entropy", "mean_logits")
        )
        add_fused_lm_head(model, outputs=outputs)
    model.config.use_cache = False
    model.train()
    if run.checkpointing:
        model.activation_checkpointing_enable()
    if run.tuning == "ia3":
        from peft import IA3Config, get_peft_model

        if run.checkpointing:
            model.enable_input_require_grads()
        scaled = ["k_proj", "v_proj", "down_proj"]
        model = get_peft_model(
            model, IA3Config(task_type="CAUSAL_LM", target_modules=scaled, feedforward_modules=scaled[2:])
        )
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(run.adapter_dtype)
    if run.tuning == "lora":
        from peft import LoraConfig, get_peft_model

        if run.checkpointing:
            model.enable_input_require_grads()
        model = get_peft_model(
            model,
            LoraConfig(
                task_type="SEQ_CLS" if run.method == "reward" else "CAUSAL_LM",
                r=run.rank, target_modules=run.targets, lora_dropout=run.dropout, use_dora=run.dora,
            ),
        )  # fmt: skip
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(run.adapter_dtype)
    if run.autocast:
        inner = torch.autocast("cpu", torch.bfloat16)(model.forward.__func__)
        model.forward = types.MethodType(inner, model)
    return model


def _reference(run: FakeRun) -> Any:
    """DPO with full tuning holds a second, frozen model."""
    if run.method != "dpo" or run.tuning != "full":
        return None
    model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        run.config, dtype=run.dtype, attn_implementation=_attention(run.config)
    )
    model.requires_grad_(False)
    add_fused_lm_head(model)
    return model.eval()


def _loss(run: FakeRun, model: Any, reference: Any, ids: torch.Tensor) -> Any:
    if run.method == "sft":
        outputs = model(input_ids=ids, labels=ids, fused_lm_head=True)
        return (-outputs.log_probs).sum() / ids.numel()
    if run.method == "reward":
        mask = torch.ones_like(ids)
        rewards = model(input_ids=ids, attention_mask=mask).logits
        chosen, rejected = torch.chunk(rewards.squeeze(-1), 2)
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean()
    if run.method == "orpo":
        return _pair_loss_over_logits(run, model, ids)
    outputs = model(input_ids=ids, labels=ids, fused_lm_head=True)
    log_probs = outputs.log_probs.sum(1)
    with torch.no_grad():
        if reference is not None:
            base = reference(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum(1)
        else:
            with model.disable_adapter():
                base = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum(1)
    ratios = log_probs - base
    chosen, rejected = ratios.chunk(2)
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean()


def _pair_loss_over_logits(run: FakeRun, model: Any, ids: torch.Tensor) -> Any:
    """ORPO's as TRL computes it: whole logits, in fp32 where accelerate mixes precisions."""
    logits = model(input_ids=ids).logits
    logits = logits.float() if run.autocast else logits
    chosen = logits[: len(ids) // 2, :-1].contiguous()
    plain = torch.nn.functional.cross_entropy(
        chosen.view(-1, chosen.shape[-1]), ids[: len(ids) // 2, 1:].reshape(-1)
    )
    log_probs = selective_log_softmax(logits[:, :-1, :], ids[:, 1:]).mean(-1)
    better, worse = log_probs.chunk(2)
    odds = better - worse - (torch.log1p(-torch.exp(better)) - torch.log1p(-torch.exp(worse)))
    return plain - 0.1 * torch.nn.functional.logsigmoid(odds).mean()
