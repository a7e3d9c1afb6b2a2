"""Who speaks: the roles that templates know, and what other data sets call them."""

from __future__ import annotations

from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "person": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "bing": "assistant", "bard": "assistant", "chatbot": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
    "tool_response": "tool", "tool_result": "tool", "tool_results": "tool", "tool_output": "tool",
    "function_result": "tool", "function_output": "tool", "environment": "tool",
}  # fmt: skip
CALL_ROLES = ("function_call", "tool_call", "tool_calls", "function_calls")
"""Roles of turns that are an assistant's call: ShareGPT's and ms-swift's."""
