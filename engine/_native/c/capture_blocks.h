/* What the readers of one capture format show the dispatcher in capture.c. */
#ifndef TRUNKLINE_CAPTURE_BLOCKS_H
#define TRUNKLINE_CAPTURE_BLOCKS_H

#include "packet.h"

#define RECORD_LIMIT 262144u  /* bytes of a packet; a larger length is damage unless the file announces it */
#define BLOCK_LIMIT (16u << 20)
#define NANOSECONDS 1000000000u
#define CHAIN_LENGTH 8        /* records that must follow one another before a place is believed */

int block_open(struct capture *capture, const uint8_t *source, size_t count);
int block_next(struct capture *capture, const uint8_t *source, size_t count, struct capture_record *record,
               struct problems *problems);
/* First place at or behind `from` where a chain of blocks starts; `count` when there is none. */
uint64_t block_search(const uint8_t *source, size_t count, uint64_t from, int big);

/* Completes a record: its number, the clock check, the frame check sequence taken off. */
void record_finish(struct capture *capture, struct capture_record *record, uint8_t fcs_length,
                   struct problems *problems);

#endif
