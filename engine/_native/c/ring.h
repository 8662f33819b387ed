/* A ring for one producer and one consumer: head and tail on lines of their own, each side keeps what it last saw of the other. */
#ifndef TRUNKLINE_RING_H
#define TRUNKLINE_RING_H

#include <stdatomic.h>

#include "status.h"

struct ring {
    _Alignas(64) _Atomic uint32_t tail; /* written by the producer */
    uint32_t head_seen;
    _Alignas(64) _Atomic uint32_t head; /* written by the consumer */
    uint32_t tail_seen;
    _Alignas(64) uint32_t mask;         /* slots - 1; slots are a power of two */
    uint32_t size;                      /* bytes of a slot */
    uint8_t *slots;                     /* lent */
};

TL_INLINE void ring_start(struct ring *r, void *slots, uint32_t count, uint32_t size) {
    atomic_init(&r->tail, 0);
    atomic_init(&r->head, 0);
    r->head_seen = r->tail_seen = 0;
    r->mask = count - 1;
    r->size = size;
    r->slots = slots;
}

/* The slot to fill behind `ahead` that are filled and not handed over yet, NULL: full. `ring_push` hands so many over, at once. */
TL_INLINE void *ring_room(struct ring *r, uint32_t ahead) {
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed) + ahead;
    if (tail - r->head_seen > r->mask) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (tail - r->head_seen > r->mask) return NULL;
    }
    return r->slots + (size_t)(tail & r->mask) * r->size;
}
TL_INLINE void ring_push(struct ring *r, uint32_t count) {
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    atomic_store_explicit(&r->tail, tail + count, memory_order_release);
}

/* The oldest slot, NULL: empty. `ring_pop` gives it back. */
TL_INLINE void *ring_next(struct ring *r) {
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head == r->tail_seen) return NULL;
    }
    return r->slots + (size_t)(head & r->mask) * r->size;
}
TL_INLINE void ring_pop(struct ring *r) {
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

#endif
