"""What the token microscope is compared with: each method's data and loss."""

from __future__ import annotations

MICROSCOPE_CASES = (
    ("sft", "messages", "answers"),
    ("sft", "messages", "all"),
    ("sft", "instruction", "answers"),
    ("sft", "prompt_completion", "answers"),
    ("sft", "prompt_completion", "all"),
    ("sft", "text", "all"),
    ("dpo", "preference", ""),
    ("cpo", "preference", ""),
    ("alphapo", "preference", ""),
    ("orpo", "preference", ""),
    ("kto", "rated", ""),
    ("reward", "preference", ""),
)
"""(method, dataset type, what carries loss where that can be chosen)"""
