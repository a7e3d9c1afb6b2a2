"""Where a secret may be sent: over https, or to this machine itself."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

HUB_VARIABLE = "HF_ENDPOINT"
NO_TOKEN_VARIABLE = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
"""Has `huggingface_hub` ask without a token, also in libraries that use it."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keeps_secrets(scheme: str, host: str) -> bool:
    """Whether traffic to the address cannot be read in transit."""
    return scheme == "https" or is_loopback(host)


def insecure_hub() -> str:
    """HF_ENDPOINT's address, without a password, if no token may be sent there; else empty."""
    address = os.environ.get(HUB_VARIABLE, "")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # not a valid address, so nothing is sent
        return ""
    if not host or keeps_secrets(parts.scheme, host):
        return ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
