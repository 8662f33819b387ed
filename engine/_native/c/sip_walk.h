/* The structural pass and the walk over lines, compiled once for each instruction set by sip_scan.c, which
   defines before every inclusion:
     TARGET                      function attribute of the set
     ISA(name)                   the name with the set's suffix, and, ending in that suffix:
       block_read(source, block)       masks of 64 bytes
       ends_write(target, bits, base)  offsets of the set bits, some too many; returns how many are meant
       colon_index(line)               of the first ':' in 32 bytes, 32 or more where there is none
       line_named(line, entry)         does the line begin with a known name and its colon?
   No include guard: this is a template. */

/* Masks of the last `rest` (1 to 63) bytes: the end of a block that reaches back, or of a copy where the
   message is shorter than a block. */
TARGET static void ISA(tail_read)(const struct sip_walk *w, uint32_t rest, struct sip_block *block) {
    uint32_t shift = 64 - rest;
    if (w->count < 64) {
        uint8_t copy[64];
        memset(copy, ' ', sizeof copy);
        memcpy(copy, w->source + w->count - rest, rest);
        ISA(block_read)(copy, block);
        shift = 0;
    } else ISA(block_read)(w->source + w->count - 64, block);
    block->line_feed >>= shift;
    block->carriage_return >>= shift;
    block->odd >>= shift;
    block->quote >>= shift;
}

/* One round: the line ends of up to SIP_BLOCKS blocks from `position` on, no further than the LF of the
   empty line. */
TARGET static void ISA(lines_find)(struct sip_walk *w) {
    const uint32_t base = w->position, left = w->count - base;
    const uint32_t blocks = left < SIP_BLOCKS * 64 ? (left + 63) / 64 : SIP_BLOCKS;
    struct carry carry = {w->after_return, w->after_feeds};
    uint64_t odd = 0, quoted = 0;
    uint32_t ends = 0;
    w->lines.base = base;
    for (uint32_t i = 0; i < blocks; i++) {
        struct sip_block block;
        if (TL_LIKELY(left - 64 * i >= 64)) ISA(block_read)(w->source + base + 64 * i, &block);
        else ISA(tail_read)(w, left - 64 * i, &block);
        const uint64_t lf = block.line_feed;
        const uint64_t after_cr = block.carriage_return << 1 | carry.after_return;
        const uint64_t close = lf & ((lf << 1 | carry.feeds >> 1) | (lf << 2 | carry.feeds));
        uint64_t keep = ~(uint64_t)0;
        if (TL_UNLIKELY((close | (after_cr ^ lf)) != 0))
            keep = block_special(w, lf, after_cr, carry, base + 64 * i);
        carry.after_return = block.carriage_return >> 63;
        carry.feeds = lf >> 62;
        odd |= block.odd & keep;
        w->lines.quotes[i] = block.quote & keep;
        quoted |= block.quote & keep;
        ends += ISA(ends_write)(w->lines.ends + ends, lf & keep, 64 * i);
        if (TL_UNLIKELY(w->ended)) break;
    }
    w->position = left < SIP_BLOCKS * 64 ? w->count : base + SIP_BLOCKS * 64;
    w->after_return = (uint8_t)carry.after_return;
    w->after_feeds = (uint8_t)carry.feeds;
    w->odd |= odd;
    w->lines.quoted = quoted != 0;
    w->lines.count = ends;
}

/* The lines of a round from `first` on. Every test in the loop is for something rare, and what is rare
   goes through line_take. Returns 0 where the headers end before the empty line. */
TARGET static int ISA(lines_take)(struct sip_walk *w, uint32_t first, uint32_t last) {
    const uint8_t *const source = w->source;
    const uint16_t *const ends = w->lines.ends;
    struct sip_message *const m = w->message;
    const uint32_t count = w->count, base = w->lines.base, quoted = w->lines.quoted;
    const uint32_t anchor = count - 32, capacity = count < 32 ? 0 : w->capacity;
    uint32_t start = w->line_start, kept = m->header_count;
    uint8_t tail[72];
    int whole = !w->folded;
    for (uint32_t i = first; i < last; i++) {
        const uint32_t end = base + ends[i];
        const uint8_t next = end + 1 < count ? source[end + 1] : 0;
        if (TL_UNLIKELY(sip_space_bytes[next])) {
            w->folded = 1; /* RFC 3261 §7.3.1: the header goes on */
            whole = 0;
            continue;
        }
        if (TL_LIKELY(whole && kept < capacity)) {
            const uint8_t *line = source + start;
            if (TL_UNLIKELY(start > anchor)) { /* no 32 bytes left: look at a copy */
                memcpy(tail + 8, source + anchor, 32);
                memset(tail + 40, 0, 32);
                line = tail + 8 + (start - anchor);
            }
            const uint32_t length = ISA(colon_index)(line);
            if (TL_LIKELY(length - 2 < SIP_NAME_LONGEST - 1 && length < end - start)) {
                const uint8_t id = sip_candidate(line, length);
                uint32_t from = start + length + 1, to = end;
                from += source[from] == ' ';
                to -= source[to - 1] == '\r';
                if (TL_LIKELY(ISA(line_named)(line, &sip_entries[id]) && id && source[from] > ' ' &&
                              source[to - 1] > ' ')) {
                    row_write(m, &w->headers[kept], kept, start, length, from, to, id);
                    kept++;
                    if (quoted && sip_has_bit(sip_quoted_headers, id)) quotes_check(w, from, to);
                    start = end + 1;
                    continue;
                }
            }
        }
        m->header_count = kept;
        if (!line_take(w, start, end)) return 0;
        kept = m->header_count;
        start = end + 1;
        whole = 1;
    }
    m->header_count = kept;
    w->line_start = start;
    return 1;
}

TARGET static int ISA(walk)(struct sip_walk *w, int framing) {
    int started = 0, result;
    do {
        ISA(lines_find)(w);
        const uint32_t count = w->lines.count, ended = w->ended;
        uint32_t i = 0;
        if (!started && count) {
            if ((result = start_take(w, w->lines.base + w->lines.ends[i++])) < 0) return result;
            started = 1;
        }
        if (!ISA(lines_take)(w, i, count - ended)) return 0;
        if (ended) {
            w->message->body_offset = w->lines.base + w->lines.ends[count - 1] + 1;
            return 0;
        }
    } while (w->position < w->count);
    return walk_open(w, started, framing);
}
