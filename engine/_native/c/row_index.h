/* Open addressing over row numbers: the keys stay in the table's own columns. */
#ifndef TRUNKLINE_ROW_INDEX_H
#define TRUNKLINE_ROW_INDEX_H

#include <string.h>

#include "trace.h"

/* Makes room for one more row; `hash_of_row` gives a row's hash again when everything moves. 0 or STATUS_TOO_SMALL. */
int row_index_reserve(struct row_index *index, const struct lender *lender,
                      uint64_t (*hash_of_row)(const struct trace *t, uint32_t row), const struct trace *t);
int row_index_init(struct row_index *index, const struct lender *lender, uint64_t expected_rows);

TL_INLINE uint32_t row_index_home(const struct row_index *index, uint64_t hash) {
    return (uint32_t)(hash >> 32 ^ hash) & (index->size - 1);
}

#endif
