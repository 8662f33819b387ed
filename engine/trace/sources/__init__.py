"""Trace formats, one file each.

A member is a `FORMAT` value of `base.Format`. Most are a few `base.Mark`s: the pattern of the line that stands before
a message, with named groups for what it says (time, peers, transport, direction). `base.frames` runs all of them over
one input, so a file may hold several formats; what is no text names its native reader instead.
"""
