/* The row indexes: growing and filling (row_index.h). */
#include "row_index.h"

int row_index_init(struct row_index *index, const struct lender *lender, uint64_t expected_rows) {
    uint64_t size = 256;
    while (size < expected_rows * 2 && size < (1u << 30)) size *= 2;
    index->slots = lender->lend(size * sizeof(uint32_t));
    index->size = index->slots ? (uint32_t)size : 0;
    index->used = 0;
    return index->slots ? 0 : STATUS_TOO_SMALL;
}

int row_index_reserve(struct row_index *index, const struct lender *lender,
                      uint64_t (*hash_of_row)(const struct trace *t, uint32_t row), const struct trace *t) {
    if (TL_LIKELY((uint64_t)index->used * 2 < index->size)) return 0;
    struct row_index larger;
    if (row_index_init(&larger, lender, index->size)) return STATUS_TOO_SMALL;
    for (uint32_t i = 0; i < index->size; i++) {
        const uint32_t slot = index->slots[i];
        if (!slot) continue;
        uint32_t place = row_index_home(&larger, hash_of_row(t, slot - 1));
        while (larger.slots[place]) place = (place + 1) & (larger.size - 1);
        larger.slots[place] = slot;
    }
    larger.used = index->used;
    lender->take_back(index->slots);
    *index = larger;
    return 0;
}
