/* Memory of the tables: one block a table, its columns one behind the other (see tables.h). */
#include "tables.h"

#include <string.h>

#define KIND_uint8_t 'u'
#define KIND_uint16_t 'u'
#define KIND_uint32_t 'u'
#define KIND_uint64_t 'u'
#define KIND_int8_t 'i'
#define KIND_int16_t 'i'
#define KIND_int32_t 'i'
#define KIND_int64_t 'i'
#define KIND_float 'f'
#define KIND_double 'f'
#define COLUMN_ENTRY(type, column_name) {#column_name, KIND_##type, (uint8_t)sizeof(type)},

#define X(table_name, COLUMNS) static const struct column table_name##_columns[] = {COLUMNS(COLUMN_ENTRY)};
TABLES(X)
#undef X

/* A table struct is its head and then one pointer a column: nothing else, so it can be walked. */
#define COLUMN_ONE(type, column_name) +1
#define X(table_name, COLUMNS) \
    _Static_assert(sizeof(struct table_name##_table) == sizeof(struct table) + (0 COLUMNS(COLUMN_ONE)) * sizeof(void *), \
                   "columns and nothing else");
TABLES(X)
#undef X

size_t table_columns(int table, const struct column **columns) {
    switch (table) {
#define X(table_name, COLUMNS) \
    case TABLE_##table_name: *columns = table_name##_columns; \
        return sizeof(table_name##_columns) / sizeof(*table_name##_columns);
        TABLES(X)
#undef X
    default: *columns = NULL; return 0;
    }
}

static size_t padded(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static size_t block_bytes(const struct column *columns, size_t count, uint32_t capacity) {
    size_t total = 64; /* room to align the first column */
    for (size_t i = 0; i < count; i++) total += padded((size_t)capacity * columns[i].size);
    return total;
}

int table_reserve(const struct lender *lender, int table, struct table *head, uint32_t extra) {
    if (TL_LIKELY(head->capacity - head->count >= extra)) return 0;
    const uint64_t wanted = (uint64_t)head->count + extra;
    if (wanted >= NONE) return STATUS_TOO_SMALL;
    uint64_t capacity = head->capacity ? (uint64_t)head->capacity * 2 : 64;
    while (capacity < wanted) capacity *= 2;
    if (capacity >= NONE) capacity = NONE - 1;

    const struct column *columns;
    const size_t column_count = table_columns(table, &columns);
    uint8_t *block = lender->lend(block_bytes(columns, column_count, (uint32_t)capacity));
    if (!block) return STATUS_TOO_SMALL;
    uint8_t *place = (uint8_t *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    uint8_t **pointers = (uint8_t **)(void *)(head + 1);
    for (size_t i = 0; i < column_count; i++) {
        if (head->count) memcpy(place, pointers[i], (size_t)head->count * columns[i].size);
        pointers[i] = place;
        place += padded((size_t)capacity * columns[i].size);
    }
    if (head->block) lender->take_back(head->block);
    head->block = block;
    head->capacity = (uint32_t)capacity;
    return 0;
}

void table_release(const struct lender *lender, struct table *head) {
    if (head->block) lender->take_back(head->block);
    head->block = NULL;
    head->count = head->capacity = 0;
}

const char *condition_id(int condition) {
    static const char *const ids[] = {
#define X(symbol, id) id,
        CONDITIONS(X)
#undef X
    };
    return condition >= 0 && condition < CONDITION_COUNT ? ids[condition] : "";
}
