/* IP literals and what class of address they are (RFC 1918, 3927, 4193, 4291, 6598). */
#ifndef TRUNKLINE_ADDRESS_H
#define TRUNKLINE_ADDRESS_H

#include "status.h"

enum address_class {
    ADDRESS_NONE = 0,    /* no text at all */
    ADDRESS_NAME,        /* a host name */
    ADDRESS_PUBLIC,      /* global unicast, v4 or v6 */
    ADDRESS_PRIVATE,     /* 10/8 172.16/12 192.168/16, fc00::/7 */
    ADDRESS_CGNAT,       /* 100.64/10 */
    ADDRESS_LINK_LOCAL,  /* 169.254/16, fe80::/10 */
    ADDRESS_LOOPBACK,    /* 127/8, ::1 */
    ADDRESS_UNSPECIFIED, /* 0.0.0.0, :: */
    ADDRESS_MULTICAST,   /* 224/4, ff00::/8 */
    ADDRESS_BROADCAST,   /* 255.255.255.255 */
    ADDRESS_INVALID      /* looks like a literal and is none; or a name under .invalid */
};

struct address {
    uint8_t ip[16]; /* v4 is stored as ::ffff:a.b.c.d */
    uint16_t port;  /* host order, 0 where unknown */
    uint8_t family; /* 4, 6, or 0 for a name or nothing */
    uint8_t kind;   /* enum address_class */
};

/* True for the classes that are not reachable from the Internet (priv(x) of the rule pages). */
TL_INLINE int address_is_private(uint8_t kind) {
    return kind >= ADDRESS_PRIVATE && kind <= ADDRESS_LOOPBACK;
}

/* The IPv4 literal that `source` begins with. Returns the bytes it takes; 0, and `*target` untouched, for none. */
size_t address_v4_prefix(const uint8_t *source, size_t count, struct address *target);

/* Reads a host as it stands in a URI, a Via or a c= line: dotted quad, IPv6 with or without
   brackets (zone id ignored, RFC 5118 triple colon tolerated), or a name. Port is left 0.
   Never fails: `kind` says what it was. */
void address_parse(const uint8_t *source, size_t count, struct address *target);

/* Is a name one under .invalid (RFC 6761 §6.4)? */
int address_under_invalid(const uint8_t *source, size_t count);

/* Class of a 16-byte address whose family is known. */
uint8_t address_classify(const uint8_t ip[16], uint8_t family);

/* Writes "a.b.c.d" or RFC 5952 text (no brackets, no port) without a NUL.
   Returns bytes written (at most 45) or STATUS_TOO_SMALL. */
ptrdiff_t address_format(const struct address *source, uint8_t *target, size_t capacity);

#endif
