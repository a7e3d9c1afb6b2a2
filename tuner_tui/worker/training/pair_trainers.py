"""TRL's two pair trainers without a reference, adapted to tokenised rows.

TRL marks them as experimental; the warning is for developers, so it is disabled here, the one place that imports them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset

from tuner_tui.worker.text.tokens import IGNORED
from tuner_tui.worker.training.even_loss import EvenRows, Size
from tuner_tui.worker.training.row_order import OrderedRows
from tuner_tui.worker.training.run_trainer import RunTrainer

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

if TYPE_CHECKING:
    from tuner_tui.worker.text.preference_tokens import TokenisedPair
    from tuner_tui.worker.text.tokens import TokenisedData

__all__ = ["CPOConfig", "ORPOConfig", "OurCPOTrainer", "OurORPOTrainer", "as_dataset"]
_Trainer: Any = object
NLL = 4
"""The place of the ordinary loss in what `concatenated_forward` gives."""


class _OverOurTokens(RunTrainer, OrderedRows, EvenRows, _Trainer):  # type: ignore[misc]
    length_columns = ("chosen_input_ids", "rejected_input_ids")
    _tokens = 0

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature  # already tokenised

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """TRL's, with the ordinary loss on the chosen answers weighted as the mean over all tokens has it."""
        found = list(super().concatenated_forward(model, batch))
        if self.has_token_mean():
            share = self.token_share(batch)
            found[NLL] = found[NLL] * share if share else torch.zeros_like(found[NLL])
        return tuple(found)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        sides = (inputs["chosen_attention_mask"], inputs["rejected_attention_mask"])
        self._tokens += sum(int(mask.sum()) for mask in sides)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        logs["num_tokens"] = self._tokens
        super().log(logs, start_time)


class OurCPOTrainer(_OverOurTokens, CPOTrainer):  # type: ignore[misc]
    """TRL's trainer for CPO and SimPO on tokenised rows."""

    def has_token_mean(self) -> bool:
        return bool(self.cpo_alpha)

    def size_of(self, batch: dict[str, Any]) -> Size:
        labels = batch["chosen_labels"]
        return Size(len(labels), int((labels[:, 1:] != IGNORED).sum()))


class OurORPOTrainer(_OverOurTokens, ORPOTrainer):  # type: ignore[misc]
    """TRL's trainer for ORPO on tokenised rows."""

    def has_token_mean(self) -> bool:
        return True

    def size_of(self, batch: dict[str, Any]) -> Size:
        mask = batch["chosen_attention_mask"]  # its ordinary loss is over the prompt, too
        return Size(len(mask), int(mask[:, 1:].sum()))


def as_dataset(data: TokenisedData[TokenisedPair]) -> Dataset:
    """The pairs in the columns of these trainers' collator: full sequences, with labels on the answers."""
    columns: dict[str, list[list[int]]] = {}
    for side in ("chosen", "rejected"):
        answers = [getattr(row, side) for row in data.rows]
        prompts = [row.prompt for row in data.rows]
        sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        columns[f"{side}_input_ids"] = sequences
        columns[f"{side}_attention_mask"] = [[1] * len(ids) for ids in sequences]
        columns[f"{side}_labels"] = [
            [IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)
        ]
    return Dataset.from_dict(columns)
