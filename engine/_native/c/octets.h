/* Unaligned loads in a stated byte order. */
#ifndef TRUNKLINE_OCTETS_H
#define TRUNKLINE_OCTETS_H

#include "status.h"

#include <string.h>

TL_INLINE uint16_t load_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
TL_INLINE uint32_t load_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
TL_INLINE uint16_t load_le16(const uint8_t *p) { return (uint16_t)(p[1] << 8 | p[0]); }
TL_INLINE uint32_t load_le32(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}
/* In the order of a file: `big` when its fields are big-endian. */
TL_INLINE uint16_t load_u16(const uint8_t *p, int big) { return big ? load_be16(p) : load_le16(p); }
TL_INLINE uint32_t load_u32(const uint8_t *p, int big) { return big ? load_be32(p) : load_le32(p); }
TL_INLINE uint64_t load_u64(const uint8_t *p, int big) {
    const uint64_t first = load_u32(p, big), second = load_u32(p + 4, big);
    return big ? first << 32 | second : second << 32 | first;
}

#endif
