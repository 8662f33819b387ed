/* The negative results every kernel shares. Zero and above are bytes or rows. */
#ifndef TRUNKLINE_STATUS_H
#define TRUNKLINE_STATUS_H

#include <stddef.h>
#include <stdint.h>

enum status {
    STATUS_MALFORMED = -1,   /* the bytes cannot be what the caller says they are */
    STATUS_INCOMPLETE = -2,  /* a valid beginning: call again with more bytes */
    STATUS_TOO_SMALL = -3,   /* the caller's target has no room; nothing was consumed */
    STATUS_UNSUPPORTED = -4, /* well formed, but of a kind this kernel does not read */
    STATUS_END = -5          /* no more records */
};

#if defined(__GNUC__)
#define TL_LIKELY(x) __builtin_expect(!!(x), 1)
#define TL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TL_INLINE static inline __attribute__((always_inline, unused))
#else
#define TL_LIKELY(x) (x)
#define TL_UNLIKELY(x) (x)
#define TL_INLINE static inline
#endif

#endif
