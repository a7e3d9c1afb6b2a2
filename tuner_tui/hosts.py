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


def is_this_machine(host: str) -> bool:
    """Whether a request for a host reaches this machine, so that no proxy can pass it on."""
    name = host.lower().rstrip(".")
    if is_loopback(name) or name.endswith(".localhost") or name == "localhost.localdomain":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


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
