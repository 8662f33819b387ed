/* SDP kernel: one pass over a description, one row a media line (RFC 8866, 3264, 4568, 8839, 8842). */
#ifndef TRUNKLINE_SDP_H
#define TRUNKLINE_SDP_H

#include "address.h"
#include "sip.h"

enum sdp_media_type { SDP_MEDIA_OTHER = 0, SDP_AUDIO, SDP_VIDEO, SDP_IMAGE, SDP_APPLICATION, SDP_TEXT,
                      SDP_MESSAGE };
enum sdp_proto { SDP_PROTO_OTHER = 0, SDP_RTP_AVP, SDP_RTP_SAVP, SDP_RTP_AVPF, SDP_RTP_SAVPF,
                 SDP_UDP_TLS_RTP_SAVP, SDP_UDP_TLS_RTP_SAVPF, SDP_UDPTL, SDP_UDP, SDP_TCP,
                 SDP_TCP_MSRP, SDP_DTLS_SCTP, SDP_TLS_UDPTL };
enum sdp_direction { SDP_DIRECTION_NONE = 0, SDP_SENDRECV, SDP_SENDONLY, SDP_RECVONLY, SDP_INACTIVE };
enum sdp_setup { SDP_SETUP_NONE = 0, SDP_ACTIVE, SDP_PASSIVE, SDP_ACTPASS, SDP_HOLDCONN };

/* Codec ids: bit numbers of `codecs`. X(symbol, "rtpmap name", clock Hz, static payload type or -1) */
#define SDP_CODECS(X) \
    X(PCMU, "PCMU", 8000, 0) X(PCMA, "PCMA", 8000, 8) X(G722, "G722", 8000, 9) \
    X(G729, "G729", 8000, 18) X(G723, "G723", 8000, 4) X(GSM, "GSM", 8000, 3) \
    X(ILBC, "iLBC", 8000, -1) X(OPUS, "opus", 48000, -1) X(AMR, "AMR", 8000, -1) \
    X(AMR_WB, "AMR-WB", 16000, -1) X(EVS, "EVS", 16000, -1) X(SPEEX, "speex", 0, -1) \
    X(G726_16, "G726-16", 8000, -1) X(G726_24, "G726-24", 8000, -1) \
    X(G726_32, "G726-32", 8000, -1) X(G726_40, "G726-40", 8000, -1) \
    X(AAL2_G726_32, "AAL2-G726-32", 8000, -1) X(G721, "G721", 8000, 2) \
    X(G728, "G728", 8000, 15) X(L16, "L16", 0, -1) X(DVI4, "DVI4", 0, 5) X(LPC, "LPC", 8000, 7) \
    X(GSM_EFR, "GSM-EFR", 8000, -1) X(GSM_HR, "GSM-HR-08", 8000, -1) X(SILK, "SILK", 0, -1) \
    X(G7221, "G7221", 0, -1) X(ISAC, "ISAC", 0, -1) X(CN, "CN", 0, 13) \
    X(TELEPHONE_EVENT, "telephone-event", 0, -1) X(RED, "red", 0, -1) \
    X(H264, "H264", 90000, -1) X(H265, "H265", 90000, -1) X(VP8, "VP8", 90000, -1) \
    X(VP9, "VP9", 90000, -1) X(AV1, "AV1", 90000, -1) X(H263, "H263", 90000, 34) \
    X(H261, "H261", 90000, 31) X(RTX, "rtx", 0, -1) X(ULPFEC, "ulpfec", 0, -1) \
    X(QCELP, "QCELP", 8000, 12) X(MPA, "MPA", 90000, 14) X(T38, "t38", 0, -1) \
    X(AAL2_G726_16, "AAL2-G726-16", 8000, -1) X(AAL2_G726_24, "AAL2-G726-24", 8000, -1) \
    X(AAL2_G726_40, "AAL2-G726-40", 8000, -1)

enum sdp_codec {
    SDP_CODEC_OTHER = 0, /* bit 0: a mapping whose name is not in the list */
#define X(symbol, name, clock, pt) SDP_CODEC_##symbol,
    SDP_CODECS(X)
#undef X
    SDP_CODEC_COUNT
};
_Static_assert(SDP_CODEC_COUNT <= 64, "one bit a codec");

#define SDP_FORMATS_MAX 32 /* payload types kept a media line; the rest are counted */

struct sdp_format {
    uint8_t payload_type;   /* 0..127 */
    uint8_t codec;          /* enum sdp_codec */
    uint8_t channels;       /* 1 when not given */
    uint8_t flags;          /* enum sdp_format_flag */
    uint32_t clock_rate_hz; /* of the rtpmap, or the static type's */
    struct sip_span fmtp;   /* parameters behind the payload type; zero length when none */
    struct sip_span name;   /* encoding name as written; zero length for a static type */
};
enum sdp_format_flag { SDP_FORMAT_RTPMAP = 1, /* an rtpmap names it */
                       SDP_FORMAT_CLOCK_BAD = 2 /* clock differs from the codec's only legal one */ };

enum sdp_flag {
    SDP_BAD_LINE = 1 << 0,          /* a line that is not <type>= */
    SDP_NO_VERSION = 1 << 1, SDP_NO_ORIGIN = 1 << 2, SDP_NO_SESSION_NAME = 1 << 3, SDP_NO_TIME = 1 << 4,
    SDP_WRONG_ORDER = 1 << 5, SDP_BAD_MEDIA = 1 << 6, SDP_BAD_CONNECTION = 1 << 7,
    SDP_NO_CONNECTION = 1 << 8,     /* a media line has no c= at either level */
    SDP_PORT_BAD = 1 << 9, SDP_PT_RANGE = 1 << 10, /* payload type above 127 or no number */
    SDP_PT_UNMAPPED = 1 << 11,      /* dynamic payload type without rtpmap */
    SDP_RTPMAP_BAD = 1 << 12, SDP_FMTP_BAD = 1 << 13, SDP_PTIME_BAD = 1 << 14,
    SDP_DIRECTION_REPEATED = 1 << 15, SDP_PTIME_REPEATED = 1 << 16, /* conflicting duplicates */
    SDP_STATIC_REDEFINED = 1 << 17, /* rtpmap gives a static payload type another codec */
    SDP_EMPTY_SESSION_NAME = 1 << 18, SDP_BARE_LF = 1 << 19, SDP_BAD_ORIGIN = 1 << 20,
    SDP_CANDIDATE_BAD = 1 << 21, SDP_CRYPTO_BAD = 1 << 22, SDP_TOO_MANY = 1 << 23,
    SDP_PT_REPEATED = 1 << 24       /* one payload type mapped to two codecs in one media line */
};

/* SRTP suites seen in a=crypto: bit numbers of `crypto_suites`. */
enum sdp_crypto_suite { SDP_AES_CM_128_SHA1_80 = 0, SDP_AES_CM_128_SHA1_32, SDP_F8_128_SHA1_80,
                        SDP_AES_192_CM_SHA1_80, SDP_AES_192_CM_SHA1_32, SDP_AES_256_CM_SHA1_80,
                        SDP_AES_256_CM_SHA1_32, SDP_AEAD_AES_128_GCM, SDP_AEAD_AES_256_GCM,
                        SDP_NULL_SHA1_80, SDP_CRYPTO_UNKNOWN, SDP_CRYPTO_UNENCRYPTED /* session parameter */ };
/* ICE: bits of `candidates`. */
enum sdp_candidate { SDP_HOST = 1, SDP_SRFLX = 2, SDP_PRFLX = 4, SDP_RELAY = 8,
                     SDP_HOST_PUBLIC = 16, SDP_CANDIDATE_PRIVATE = 32, SDP_MDNS = 64 };
enum sdp_trait {
    SDP_RTCP_MUX = 1, SDP_RTCP_MUX_ONLY = 2, SDP_RTCP = 4, SDP_ICE = 8 /* ufrag or candidates */,
    SDP_ICE_LITE = 16, SDP_ICE_MISMATCH = 32, SDP_FINGERPRINT = 64, SDP_BUNDLED = 128, SDP_MID = 256,
    SDP_RECORD = 512, SDP_LABEL = 1024, SDP_SESSION_DIRECTION = 2048, /* direction came from session level */
    SDP_SESSION_CONNECTION = 4096, SDP_RTCP_RSIZE = 8192, SDP_ALTC = 16384
};

struct sdp_media {
    struct sip_span section;     /* from m= to the next m= or the end */
    struct address connection;   /* effective c= of this line, port = the m= port */
    struct sip_span connection_host; /* as written */
    uint16_t port_count;         /* of port/count, 1 by default */
    uint8_t media;               /* enum sdp_media_type */
    uint8_t proto;               /* enum sdp_proto */
    uint8_t direction;           /* effective; SDP_SENDRECV when nothing is said */
    uint8_t setup;               /* enum sdp_setup */
    uint16_t ptime_ms, maxptime_ms; /* 0 when absent, clipped to 65535 */
    uint16_t rtcp_port;          /* of a=rtcp, 0 when absent */
    uint8_t format_count;        /* rows of `formats` */
    uint16_t format_total;       /* on the m= line */
    uint8_t crypto_count;
    uint16_t crypto_suites;      /* bit an enum sdp_crypto_suite */
    uint16_t candidate_count;
    uint8_t candidates;          /* enum sdp_candidate */
    uint16_t traits;             /* enum sdp_trait, session level folded in */
    uint64_t codecs;             /* bit an enum sdp_codec */
    uint64_t codecs_hash;        /* of (payload type, codec, clock) in order */
    uint32_t bandwidth_kbps;     /* b=AS, or TIAS/1000; 0 when absent */
    uint64_t crypto_key_hash;    /* of the first inline key, 0 when none */
    uint64_t fingerprint_hash;
    struct sip_span label, mid;
    uint32_t flags;              /* enum sdp_flag of this section */
    struct sdp_format formats[SDP_FORMATS_MAX];
};

struct sdp_session {
    struct sip_span origin;        /* the whole o= value */
    struct sip_span session_id, session_version; /* inside it */
    uint64_t origin_hash;          /* of username, session id, network type, address — not the version */
    int64_t version;               /* session_version as a number, saturating; -1 when none */
    struct address origin_address;
    struct address connection;     /* session-level c= */
    struct sip_span session_name;
    uint32_t flags;                /* enum sdp_flag, media sections folded in */
    uint16_t media_count;          /* rows written */
    uint16_t media_total;
    uint16_t line_count;
    uint64_t body_hash;            /* of everything but the o= line: equal hash, equal description */
};

/* Scans `count` bytes at base + body. Spans out count from `base`. Returns rows written into `media`
   (at most `capacity`; more sets SDP_TOO_MANY), or STATUS_MALFORMED when there is no single SDP line. */
ptrdiff_t sdp_scan(const uint8_t *base, struct sip_span body, struct sdp_session *session,
                   struct sdp_media *media, size_t capacity);

const char *sdp_codec_name(int codec);
uint32_t sdp_codec_clock_hz(int codec);

#endif
