"""RTP and RTCP (RFC 3550, 3551, 3611, 4733): what the media packets of a call say about it."""
