"""SIP messages: reading, splitting a stream, and the parts of header values."""

from engine.sip.message import Message, parse, split_stream

__all__ = ["Message", "parse", "split_stream"]
