"""What is wrong with a row, before its reader adds file and line."""

from __future__ import annotations


class RowFault(ValueError):
    """What is wrong with a row; its reader adds file and line."""

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.title, self.message, self.hint = title, message, hint
