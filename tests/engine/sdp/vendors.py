"""Offers in the shapes that products in the field write them in. Addresses, keys and names are made up."""

from __future__ import annotations

from typing import Final

from .descriptions import KEY, OTHER_KEY

_FINGERPRINT: Final = "sha-256 " + ":".join(f"{at:02X}" for at in range(32))


def _body(text: str) -> bytes:
    return "".join(f"{line.strip()}\r\n" for line in text.strip().split("\n")).encode()


ASTERISK: Final = _body("""
    v=0
    o=- 1208213961 1208213961 IN IP4 198.51.100.20
    s=Asterisk
    c=IN IP4 198.51.100.20
    t=0 0
    m=audio 17366 RTP/AVP 107 9 8 0 101
    a=rtpmap:107 opus/48000/2
    a=fmtp:107 useinbandfec=1
    a=rtpmap:9 G722/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=ptime:20
    a=maxptime:60
    a=sendrecv
""")

FREESWITCH: Final = _body("""
    v=0
    o=FreeSWITCH 1652344000 1652344001 IN IP4 198.51.100.21
    s=FreeSWITCH
    c=IN IP4 198.51.100.21
    t=0 0
    m=audio 23458 RTP/AVP 102 9 0 8 103 101 13
    a=rtpmap:102 opus/48000/2
    a=fmtp:102 useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20; minptime=10; maxptime=40
    a=rtpmap:9 G722/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:103 telephone-event/48000
    a=fmtp:103 0-16
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=rtpmap:13 CN/8000
    a=ptime:20
""")

FREESWITCH_SRTP: Final = _body(f"""
    v=0
    o=FreeSWITCH 1652344000 1652344001 IN IP4 198.51.100.21
    s=FreeSWITCH
    c=IN IP4 198.51.100.21
    t=0 0
    m=audio 23458 RTP/SAVP 8 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=crypto:1 AEAD_AES_256_GCM_8 inline:{KEY}{KEY[:20]}
    a=crypto:2 AES_CM_256_HMAC_SHA1_80 inline:{KEY}{KEY[:20]}{KEY[:2]}
    a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}
    a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:{OTHER_KEY}
    a=crypto:5 AES_CM_128_NULL_AUTH inline:{OTHER_KEY}
    m=audio 23458 RTP/AVP 8 101
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=ptime:20
""")

CUBE: Final = _body("""
    v=0
    o=CiscoSystemsSIP-GW-UserAgent 9385 1234 IN IP4 198.51.100.22
    s=SIP Call
    c=IN IP4 198.51.100.22
    t=0 0
    m=audio 16552 RTP/AVP 18 0 101 19
    c=IN IP4 198.51.100.22
    a=rtpmap:18 G729/8000
    a=fmtp:18 annexb=no
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=rtpmap:19 CN/8000
    a=ptime:20
""")

CUBE_SIPREC: Final = _body("""
    v=0
    o=CiscoSystemsSIP-GW-UserAgent 9385 1234 IN IP4 198.51.100.22
    s=SIP Call
    c=IN IP4 198.51.100.22
    t=0 0
    m=audio 16552 RTP/AVP 0 101 19
    c=IN IP4 198.51.100.22
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=rtpmap:19 CN/8000
    a=ptime:20
    a=sendonly
    a=label:1
    m=audio 16554 RTP/AVP 0 101 19
    c=IN IP4 198.51.100.22
    a=rtpmap:0 PCMU/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-16
    a=rtpmap:19 CN/8000
    a=ptime:20
    a=sendonly
    a=label:2
""")

AUDIOCODES_SIPREC: Final = _body(f"""
    v=0
    o=AudiocodesGW 1597423410 892187611 IN IP4 198.51.100.23
    s=SBC-Call
    c=IN IP4 198.51.100.23
    t=0 0
    m=audio 6020 RTP/SAVP 8 96
    c=IN IP4 198.51.100.23
    a=ptime:20
    a=sendonly
    a=label:1
    a=rtpmap:96 telephone-event/8000
    a=fmtp:96 0-15
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31
    a=rtcp:6021 IN IP4 198.51.100.23
    m=audio 6030 RTP/SAVP 8 96
    c=IN IP4 198.51.100.23
    a=ptime:20
    a=sendonly
    a=label:2
    a=rtpmap:96 telephone-event/8000
    a=fmtp:96 0-15
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{OTHER_KEY}|2^31
    a=rtcp:6031 IN IP4 198.51.100.23
""")

CHROME: Final = _body(f"""
    v=0
    o=- 4611731400430051336 2 IN IP4 127.0.0.1
    s=-
    t=0 0
    a=group:BUNDLE 0 1 2
    a=extmap-allow-mixed
    a=msid-semantic: WMS 4d7e
    m=audio 54400 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
    c=IN IP4 198.51.100.24
    a=rtcp:9 IN IP4 0.0.0.0
    a=candidate:1467250027 1 udp 2122260223 198.51.100.24 54400 typ host generation 0 network-id 1
    a=candidate:2999745851 1 tcp 1518280447 198.51.100.24 9 typ host tcptype active generation 0
    a=candidate:1510613869 1 udp 2122194687 7d1c-4f5e.local 46154 typ host generation 0
    a=ice-ufrag:EsAw
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
    a=ice-options:trickle
    a=fingerprint:{_FINGERPRINT}
    a=setup:actpass
    a=mid:0
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
    a=sendrecv
    a=rtcp-mux
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=rtcp-fb:111 transport-cc
    a=fmtp:111 minptime=10;useinbandfec=1
    a=rtpmap:63 red/48000/2
    a=fmtp:63 111/111
    a=rtpmap:9 G722/8000
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:13 CN/8000
    a=rtpmap:110 telephone-event/48000
    a=rtpmap:126 telephone-event/8000
    a=ssrc:1001 cname:abc
    m=video 9 UDP/TLS/RTP/SAVPF 96 97
    c=IN IP4 0.0.0.0
    a=rtcp:9 IN IP4 0.0.0.0
    a=ice-ufrag:EsAw
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
    a=fingerprint:{_FINGERPRINT}
    a=setup:actpass
    a=mid:1
    a=sendrecv
    a=rtcp-mux
    a=rtpmap:96 VP8/90000
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel
    c=IN IP4 0.0.0.0
    a=ice-ufrag:EsAw
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
    a=fingerprint:{_FINGERPRINT}
    a=setup:actpass
    a=mid:2
    a=sctp-port:5000
""")

LINPHONE: Final = _body("""
    v=0
    o=alice 1845 2917 IN IP4 198.51.100.25
    s=Talk
    c=IN IP4 198.51.100.25
    t=0 0
    a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
    a=record:off
    m=audio 7078 RTP/AVPF 96 97 98 0 8 101 99 100
    a=rtpmap:96 opus/48000/2
    a=fmtp:96 useinbandfec=1
    a=rtpmap:97 speex/16000
    a=fmtp:97 vbr=on
    a=rtpmap:98 speex/8000
    a=fmtp:98 vbr=on
    a=rtpmap:101 telephone-event/48000
    a=rtpmap:99 telephone-event/16000
    a=rtpmap:100 telephone-event/8000
    a=rtcp-fb:* trr-int 1000
    a=rtcp-fb:* ccm tmmbr
    m=video 9078 RTP/AVPF 96
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 nack pli
""")

BARESIP: Final = _body("""
    v=0
    o=- 3456789012 1234567890 IN IP4 198.51.100.26
    s=-
    c=IN IP4 198.51.100.26
    t=0 0
    a=tool:baresip 3.9
    m=audio 10020 RTP/AVP 96 0 8 101
    b=AS:125
    a=rtpmap:96 opus/48000/2
    a=fmtp:96 stereo=1;sprop-stereo=1
    a=rtpmap:0 PCMU/8000
    a=rtpmap:8 PCMA/8000
    a=rtpmap:101 telephone-event/8000
    a=fmtp:101 0-15
    a=rtcp:10021
    a=sendrecv
    a=label:1
    a=rtcp-rsize
    a=ssrc:2846511211 cname:sip:alice@example.com
    a=ptime:20
""")

METASWITCH_SIPREC: Final = _body("""
    v=0
    o=- 1 1 IN IP4 198.51.100.27
    s=-
    c=IN IP4 198.51.100.27
    t=0 0
    m=audio 40000 RTP/AVP 18 0 8
    a=label:1
""")

T38: Final = _body("""
    v=0
    o=- 1208213961 1208213962 IN IP4 198.51.100.20
    s=Asterisk
    c=IN IP4 198.51.100.20
    t=0 0
    m=image 4012 udptl t38
    a=T38FaxVersion:0
    a=T38MaxBitRate:14400
    a=T38FaxUdpEC:t38UDPRedundancy
""")

ALL: Final = {
    "Asterisk": ASTERISK, "FreeSWITCH": FREESWITCH, "FreeSWITCH SRTP": FREESWITCH_SRTP, "CUBE": CUBE, "CUBE SIPREC": CUBE_SIPREC,
    "AudioCodes SIPREC": AUDIOCODES_SIPREC, "Chrome": CHROME, "Linphone": LINPHONE, "baresip": BARESIP, "Metaswitch SIPREC": METASWITCH_SIPREC,
    "T.38": T38,
}  # fmt: skip
