"""What `compliance.pci_enabled` forces, and what it wants besides (PCI DSS 3.3, 3.5, 4.2)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.config.document import Config

SETTING: Final = "compliance.pci_enabled"
TYPE: Final = "credit_card"


def hardened(config: Config) -> tuple[Config, list[str]]:
    """The configuration as it is in force, and the paths of what was changed. Card numbers are looked for and taken out, and recordings are encrypted, whatever else
    is said of that. TLS and SRTP take somebody at the other end, so they are not forced."""
    if not config.compliance.pci_enabled:
        return config, []
    kinds = config.pii.enabled_types
    forced: dict[str, dict[str, Any]] = {
        "pii": {"enabled": True, "enabled_types": kinds if TYPE in kinds else [*kinds, TYPE], "apply_to_transcriptions": True, "apply_to_recordings": True},
        "encryption": {"enable_recording_encryption": True, "enable_metadata_encryption": True},
    }
    changed = []
    for section, values in forced.items():
        before = getattr(config, section)
        changed += [f"{section}.{name}" for name, value in values.items() if getattr(before, name) != value]
        config = msgspec.structs.replace(config, **{section: msgspec.structs.replace(before, **values)})
    return config, changed


def wanting(config: Config) -> list[str]:
    """What card data want besides, and nobody has set."""
    network, told = config.network, []
    if not network.require_tls_only:
        told.append("signalling may come without TLS: network.require_tls_only is off")
    if not network.require_srtp:
        told.append("media may come without SRTP: network.require_srtp is off")
    if not config.pause_resume.enabled:
        told.append("recordings cannot be paused while a card number is said: pause_resume.enabled is off")
    return told


__all__ = ["SETTING", "hardened", "wanting"]
