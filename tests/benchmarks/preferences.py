"""Whether the preference methods learn, on SmolLM2-135M: `python -m tests.benchmarks.preferences [CASE ...]`.

Answers are sampled from the model itself and labelled by a plain rule: at most two commas in 64 tokens. Each case
trains with its preset's method, tuning and training tables; the same sampler then answers prompts on subjects that were
not trained on. Beside the share that keeps the rule stands the base's negative log-likelihood per token of the answers,
which rises when a model pays for a rule with fluency. Cases are dpo, kto, orpo, each also as NAME-shuffled (labels
drawn by lot), reward-paragraphs and reward-commas. What was sampled is kept in a folder and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUBJECTS = (
    "bread", "rain", "the moon", "chess", "trains", "honey", "volcanoes", "friendship", "libraries", "whales",
    "clocks", "gardens", "money", "snow", "bicycles", "paper", "music", "sleep", "bridges", "salt", "maps", "tea",
    "wolves", "glass", "rivers", "patience", "robots", "cheese", "deserts", "kites", "birds", "cities", "soap",
    "mirrors", "dreams", "coal", "cotton", "ships", "apples", "thunder", "castles", "mountains", "spiders", "radio",
    "wheat", "windmills", "penguins", "silk", "shadows", "markets", "forests", "candles", "islands", "lemons",
    "tunnels", "owls", "ink", "caves", "fog", "pianos", "turtles", "rope", "stamps", "harbours", "mushrooms",
)  # fmt: skip
FORMS = (
    "Tell me about {}.",
    "Why do people care about {}?",
    "Describe {} to a child.",
    "Give me advice about {}.",
)
UNSEEN_SUBJECTS = 21
TRAIN_SAMPLES, TEST_SAMPLES = 4, 2
TEMPERATURE, TOP_P = 0.8, 0.95
MOST_COMMAS = 2
NEW_TOKENS = 64
PRESETS = {"dpo": "dpo-8gb", "kto": "kto-thumbs", "orpo": "orpo-one-go", "reward": "reward-model"}
CASES = (
    "dpo",
    "kto",
    "orpo",
    "dpo-shuffled",
    "kto-shuffled",
    "orpo-shuffled",
    "reward-paragraphs",
    "reward-commas",
)
Rule = "Callable[[str], bool]"


def keeps_commas(answer: str) -> bool:
    """The rule of the language models."""
    return answer.count(",") <= MOST_COMMAS


def is_one_paragraph(answer: str) -> bool:
    """The visible rule of the reward model."""
    return "\n" not in answer


def prompts() -> tuple[list[str], list[str]]:
    """(trained on, unseen); the unseen ones are about subjects of their own."""
    subjects = list(SUBJECTS)
    random.Random(1).shuffle(subjects)
    unseen, seen = subjects[:UNSEEN_SUBJECTS], subjects[UNSEEN_SUBJECTS:]
    return (
        [form.format(each) for each in seen for form in FORMS],
        [f.format(each) for each in unseen for f in FORMS],
    )


def answers(
    model: Any, tokenizer: Any, asked: Sequence[str], each: int, seed: int, new_tokens: int = NEW_TOKENS
) -> list[list[str]]:
    """Sampled answers, `each` to a prompt."""
    torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    model.eval()
    found: list[list[str]] = []
    for start in range(0, len(asked), 16):
        turns = [[{"role": "user", "content": prompt}] for prompt in asked[start : start + 16]]
        encoded = tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        ).to(model.device)
        with torch.no_grad():
            output = model.generate(
                **encoded, max_new_tokens=new_tokens, do_sample=True, temperature=TEMPERATURE, top_k=0, top_p=TOP_P,
                num_return_sequences=each, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        texts = tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        found += [[text.strip() for text in texts[n : n + each]] for n in range(0, len(texts), each)]
    return found


def likelihood(model: Any, tokenizer: Any, asked: Sequence[str], said: Sequence[Sequence[str]]) -> float:
    """The base's mean negative log-likelihood per token of answers, in nats."""
    total = count = 0.0
    tokenizer.padding_side = "right"
    model.eval()
    for prompt, texts in zip(asked, said, strict=True):
        before = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        begin = len(tokenizer(before, add_special_tokens=False)["input_ids"])
        full = tokenizer(
            [before + text for text in texts], add_special_tokens=False, padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            logits = model(**full).logits[:, :-1].float()
        picked = torch.log_softmax(logits, -1).gather(-1, full["input_ids"][:, 1:, None]).squeeze(-1)
        mask = full["attention_mask"][:, 1:].bool()
        mask[:, : begin - 1] = False
        total -= float(picked[mask].sum())
        count += int(mask.sum())
    return total / count


@dataclass
class Bench:
    """One folder with what was sampled and trained."""

    folder: Path
    source: str

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(TUNER_TUI_HOME=str(self.folder / "home"), HF_HUB_DISABLE_TELEMETRY="1")

    def base(self) -> tuple[Any, Any]:
        """(model, tokenizer) of the base, in the 16-bit type that this machine is fast at."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from tuner_tui.worker.device.machine import cpu_has_fast_bf16

        location = str(self.location())
        dtype = torch.bfloat16 if cpu_has_fast_bf16() else torch.float32
        tokenizer = AutoTokenizer.from_pretrained(location)
        return AutoModelForCausalLM.from_pretrained(location, dtype=dtype), tokenizer

    def location(self) -> Path:
        """The base's folder; a GGUF file is dequantised once."""
        from tuner_tui.models.source import find_source
        from tuner_tui.worker.model.loading import dequantise_once

        found = find_source(self.source)
        assert found.path is not None, f"{self.source} is not on this machine"
        return dequantise_once(found.path) if found.kind == "gguf" else found.path

    def sampled(
        self, name: str, asked: Sequence[str], each: int, seed: int, new_tokens: int
    ) -> list[list[str]]:
        """Answers of the base, made once."""
        kept = self.folder / f"{name}.json"
        if kept.exists():
            return list(json.loads(kept.read_text()))
        began = time.perf_counter()
        found = answers(*self.base(), asked, each, seed, new_tokens)
        kept.write_text(json.dumps(found))
        print(
            f"sampled {name}: {len(found)} x {each} in {time.perf_counter() - began:.0f} s", file=sys.stderr
        )
        return found

    def train(self, method: str, rows: list[dict[str, Any]], name: str, new_tokens: int) -> Path:
        """Train with the method's preset on this machine; gives the adapter's folder."""
        from tuner_tui.config.presets import find_preset, preset_spec
        from tuner_tui.config.spec import RunSpec
        from tuner_tui.models.source import find_source
        from tuner_tui.planning.plan import make_plan
        from tuner_tui.runs.create import create_run
        from tuner_tui.worker.train import run_job

        data = self.folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        preset = preset_spec(find_preset(PRESETS[method])).model_dump()
        spec = RunSpec.model_validate(
            {
                "name": name,
                "model": {"source": str(self.location()), "precision": "auto"},
                "data": {"train": str(data)},
                "method": preset["method"]
                | ({"precompute_reference": True} if method in ("dpo", "kto") else {}),
                "tuning": preset["tuning"],
                "training": preset["training"]
                | {"optimizer": "adamw", "checkpointing": "off", "max_length": 128 + new_tokens},
            }
        )
        folder = create_run(spec, make_plan(spec, find_source(spec.model.source)))
        assert run_job(folder.path) == 0, folder.events.read_text()[-2000:]
        return folder.adapter

    def language_case(self, method: str, *, is_shuffled: bool) -> dict[str, Any]:
        """Train and ask: the share of unseen answers that keep the rule, against the base's."""
        from peft import PeftModel

        seen, unseen = prompts()
        sampled = self.sampled("answers-seen", seen, TRAIN_SAMPLES, 1, NEW_TOKENS)
        before = self.sampled("answers-unseen", unseen, TEST_SAMPLES, 2, NEW_TOKENS)
        labelled = labels(sampled, keeps_commas, shuffle_seed=3 if is_shuffled else None)
        rows = rated_rows(seen, labelled) if method == "kto" else pair_rows(seen, labelled)
        began = time.perf_counter()
        adapter = self.train(method, rows, f"{method}{'-shuffled' if is_shuffled else ''}", NEW_TOKENS)
        seconds = time.perf_counter() - began
        model, tokenizer = self.base()
        tuned = PeftModel.from_pretrained(model, str(adapter))
        after = answers(tuned, tokenizer, unseen, TEST_SAMPLES, 2)
        with tuned.disable_adapter():
            nll_before = likelihood(tuned, tokenizer, unseen, before)
            nll_after = likelihood(tuned, tokenizer, unseen, after)
        return {
            "rows": len(rows),
            "unseen_answers": len(unseen) * TEST_SAMPLES,
            "base_percent": share(before, keeps_commas),
            "tuned_percent": share(after, keeps_commas),
            "nll_base": round(nll_before, 3),
            "nll_tuned": round(nll_after, 3),
            "mean_characters": [mean_length(before), mean_length(after)],
            "train_seconds": round(seconds),
        }

    def reward_case(self, rule_name: str) -> dict[str, Any]:
        """Train on pairs of a rule and order unseen pairs, with bare PEFT."""
        rule = is_one_paragraph if rule_name == "paragraphs" else keeps_commas
        seen, unseen = prompts()
        tokens = 128 if rule_name == "paragraphs" else NEW_TOKENS
        suffix = "-long" if rule_name == "paragraphs" else ""
        sampled = self.sampled(f"answers-seen{suffix}", seen, TRAIN_SAMPLES, 1, tokens)
        others = self.sampled(f"answers-judged{suffix}", unseen, TRAIN_SAMPLES, 4, tokens)
        rows = pair_rows(seen, labels(sampled, rule), most=TRAIN_SAMPLES**2)
        judged = pair_rows(unseen, labels(others, rule))
        adapter = self.train("reward", rows, f"reward-{rule_name}", tokens)
        scores = [
            self.scores(adapter, [(row["prompt"], row[side]) for row in judged])
            for side in ("chosen", "rejected")
        ]
        right = sum(left > right for left, right in zip(*scores, strict=True))
        return {
            "rows": len(rows),
            "unseen_pairs": len(judged),
            "ordered_percent": round(100 * right / len(judged), 1),
        }

    def scores(self, adapter: Path, talks: Sequence[tuple[Any, Any]]) -> list[float]:
        """Scores of conversations by transformers and PEFT alone."""
        from peft import PeftModel
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        location = str(self.location())
        tokenizer = AutoTokenizer.from_pretrained(location)
        bare = AutoModelForSequenceClassification.from_pretrained(location, num_labels=1, dtype=torch.float32)
        bare.config.pad_token_id = tokenizer.pad_token_id
        model = PeftModel.from_pretrained(bare, str(adapter)).eval()
        found = []
        for prompt, answer in talks:
            text = str(tokenizer.apply_chat_template([*prompt, *answer], tokenize=False)).removesuffix("\n")
            with torch.no_grad():
                encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
                found.append(float(model(**encoded).logits[0, 0]))
        return found


def labels(
    sampled: Sequence[Sequence[str]], rule: Callable[[str], bool], shuffle_seed: int | None = None
) -> list[list[tuple[str, bool]]]:
    """Answers with whether they keep the rule; a seed deals these labels out anew among all answers."""
    kept = [[(text, rule(text)) for text in texts if text] for texts in sampled]
    if shuffle_seed is None:
        return kept
    dealt = [label for group in kept for _, label in group]
    random.Random(shuffle_seed).shuffle(dealt)
    given = iter(dealt)
    return [[(text, next(given)) for text, _ in group] for group in kept]


def pair_rows(
    asked: Sequence[str], labelled: Sequence[Sequence[tuple[str, bool]]], most: int = 1
) -> list[dict[str, Any]]:
    """At most so many pairs for each prompt with answers of both kinds."""
    rows = []
    for prompt, group in zip(asked, labelled, strict=True):
        good = [text for text, label in group if label]
        bad = [text for text, label in group if not label]
        for chosen, rejected in list(product(good, bad))[:most]:
            rows.append(
                {"prompt": _user(prompt), "chosen": _assistant(chosen), "rejected": _assistant(rejected)}
            )
    return rows


def rated_rows(asked: Sequence[str], labelled: Sequence[Sequence[tuple[str, bool]]]) -> list[dict[str, Any]]:
    """The answers that `pair_rows` pairs, each with its label, so that methods learn from the same."""
    rows = []
    for pair in pair_rows(asked, labelled):
        for side in ("chosen", "rejected"):
            rows.append({"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"})
    return rows


def share(said: Sequence[Sequence[str]], rule: Callable[[str], bool]) -> float:
    """Percent of answers that keep a rule."""
    kept = [rule(text) for texts in said for text in texts]
    return round(100 * sum(kept) / len(kept), 1)


def mean_length(said: Sequence[Sequence[str]]) -> int:
    """Characters of an answer, in the mean."""
    lengths = [len(text) for texts in said for text in texts]
    return round(sum(lengths) / len(lengths))


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def measure(case: str, folder: Path, source: str = "demo") -> dict[str, Any]:
    """The figures of one case."""
    bench = Bench(folder, source)
    method, _, rest = case.partition("-")
    if method == "reward":
        return {"case": case, **bench.reward_case(rest)}
    return {"case": case, **bench.language_case(method, is_shuffled=rest == "shuffled")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument("--model", default="demo", help="the demo model, or a folder with it")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/tuner-tui-preferences"))
    arguments = parser.parse_args()
    for case in arguments.cases or CASES:
        print(json.dumps(measure(case, arguments.folder, arguments.model)), flush=True)


if __name__ == "__main__":
    main()
