"""What the configuration says of where recordings go and how they are encrypted, as things that do it; made once and anew when the settings change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.recordings.keys import keys_of
from engine.recordings.vault import Vault

if TYPE_CHECKING:
    from engine.config.document import Config, Encryption, RecordingStorage
    from engine.recordings.storage import Backend


class Places:
    """`config` gives the one in force. Methods may be called in any thread."""

    def __init__(self, config: Callable[[], Config], data_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._config, self._data_dir, self._clock = config, data_dir, clock
        self._turn = threading.Lock()
        self._storage: tuple[RecordingStorage, Backend | None] | None = None
        self._others: dict[str, Backend] = {}
        self._vault: tuple[Encryption, Vault] | None = None

    def storage(self) -> Backend | None:
        """Where new recordings go; None where that is switched off. Raises StorageError for settings that cannot be used."""
        from engine.recordings.storage import backend_of

        wanted = self._config().recording.storage
        with self._turn:
            if self._storage is None or self._storage[0] != wanted:
                self._storage, self._others = (wanted, backend_of(wanted, self._data_dir, now=self._clock)), {}
            return self._storage[1]

    def storage_for(self, url: str) -> Backend:
        """The store that has the copy of a URL, wherever new ones go. Raises StorageError."""
        from engine.recordings.storage import backend_for
        from engine.recordings.storage.base import StorageError

        try:
            current = self.storage()
        except StorageError:
            current = None
        if current is not None and current.owns(url):
            return current
        scheme = url.partition(":")[0]
        with self._turn:
            known = self._others.get(scheme)
        if known is None or not known.owns(url):
            known = backend_for(url, self._config().recording.storage, self._data_dir, now=self._clock)
            with self._turn:
                self._others[scheme] = known
        return known

    def close(self) -> None:
        """Closes connections that are kept."""
        with self._turn:
            opened = [*self._others.values(), *([self._storage[1]] if self._storage is not None else [])]
        for backend in opened:
            if (close := getattr(backend, "close", None)) is not None:
                close()

    def vault(self) -> Vault:
        """What encrypts and reads encrypted files."""
        wanted = self._config().encryption
        with self._turn:
            if self._vault is None or self._vault[0] != wanted:
                self._vault = wanted, Vault(keys_of(wanted, self._data_dir, now=self._clock, random=os.urandom), random=os.urandom)
            return self._vault[1]


__all__ = ["Places"]
