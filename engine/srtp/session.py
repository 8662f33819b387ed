"""Both directions of one stream."""

from __future__ import annotations

from engine.srtp.context import WINDOW_DEFAULT, SrtpContext
from engine.srtp.key import SrtpKey


class SrtpSession:
    """What we send is protected with `send`, what we receive with `receive`: the keys of the two a=crypto lines that were agreed on.

    `sender` and `receiver` are the two contexts; packets go through them.
    """

    def __init__(self, *, send: SrtpKey, receive: SrtpKey, window: int = WINDOW_DEFAULT) -> None:
        self.sender = SrtpContext(send, window=window)
        self.receiver = SrtpContext(receive, window=window)

    def rekey(self, *, send: SrtpKey | None = None, receive: SrtpKey | None = None) -> None:
        """New keys for the directions given; what is on its way under the old ones is read until `forget`."""
        if send is not None:
            self.sender.rekey(send)
        if receive is not None:
            self.receiver.rekey(receive)

    def forget(self) -> None:
        """Drops the keys before the newest, in both directions."""
        self.sender.forget()
        self.receiver.forget()

    def close(self) -> None:
        """Ends both contexts and wipes their keys."""
        self.sender.close()
        self.receiver.close()


__all__ = ["SrtpSession"]
