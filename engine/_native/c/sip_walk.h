/* The structural pass and the walk over lines, compiled once for each instruction set by sip_scan.c, which
   defines before every inclusion:
     TARGET, TARGET_INLINE       function attributes of the set
     ISA(name)                   the name with the set's suffix, and, ending in that suffix:
       block_read(source, block)       masks of 64 bytes
       ends_write(target, bits, base)  offsets of the set bits, some too many; returns how many are meant
       colon_index(line)               of the first ':' in 32 bytes, 32 or more where there is none
       name_head(line, length)         the first eight bytes, those behind `length` zero
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
    block->unusual >>= shift;
    block->quote >>= shift;
}

/* Keeps what a block holds, as block `number` of the round. */
TARGET_INLINE void ISA(block_keep)(struct sip_walk *w, struct pass *p, const struct sip_block *block,
                                   uint32_t number) {
    p->after_return = block->carriage_return >> 63;
    p->after_feed = block->line_feed >> 63;
    p->odd |= block->unusual ^ (block->line_feed | block->carriage_return);
    p->quoted |= block->quote;
    w->lines.quotes[number] = block->quote;
    p->ends += ISA(ends_write)(w->lines.ends + p->ends, block->line_feed, 64 * number);
}

/* One round: the line ends of up to SIP_BLOCKS blocks from `position` on, up to the empty line. The inner
   loop calls nothing, so that its constants stay in registers. */
TARGET static void ISA(lines_find)(struct sip_walk *w) {
    const uint32_t base = w->position, left = w->count - base;
    const uint32_t whole = left < SIP_BLOCKS * 64 ? left / 64 : SIP_BLOCKS;
    const uint32_t blocks = whole + (whole < SIP_BLOCKS && left % 64);
    struct pass p = {w->after_return, w->after_feed, 0, 0, 0};
    w->lines.base = base;
    w->lines.blocks = blocks;
    w->position = left < SIP_BLOCKS * 64 ? w->count : base + SIP_BLOCKS * 64;
    for (uint32_t i = 0; i < blocks && !w->ended; i++) {
        struct sip_block block = {0, 0, 0, 0};
        for (; TL_LIKELY(i < whole); i++) {
            ISA(block_read)(w->source + base + 64 * i, &block);
            if (TL_UNLIKELY(block_is_special(&block, &p))) break;
            ISA(block_keep)(w, &p, &block, i);
        }
        if (i == blocks) break;
        if (i == whole) ISA(tail_read)(w, left % 64, &block);
        const uint64_t after_cr = after_return(&block, &p), after_lf = after_feed(&block, &p);
        const uint64_t keep =
            block_special(w, block.line_feed, block.carriage_return, after_cr, after_lf, base + 64 * i);
        block.line_feed &= keep;
        block.carriage_return &= keep;
        block.unusual &= keep;
        block.quote &= keep;
        ISA(block_keep)(w, &p, &block, i);
    }
    w->after_return = (uint8_t)p.after_return;
    w->after_feed = (uint8_t)p.after_feed;
    w->odd |= p.odd;
    w->lines.quoted = p.quoted != 0;
    w->quoted |= w->lines.quoted;
    w->lines.count = p.ends;
}

/* Id of the header a line begins with, 0 for an unknown or odd name; `*length` is that of the name. */
TARGET_INLINE uint8_t ISA(line_name)(const uint8_t *line, uint32_t *length) {
    const uint32_t colon = ISA(colon_index)(line);
    *length = colon;
    if (TL_UNLIKELY(colon - 2 > SIP_NAME_LONGEST - 2)) return SIP_HEADER_OTHER;
    const uint8_t id = sip_candidate(ISA(name_head)(line, colon), line, colon);
    return TL_LIKELY(ISA(line_named)(line, &sip_entries[id])) ? id : SIP_HEADER_OTHER;
}

/* The lines of a round from `first` on, `last` excluded. Every test in the loop is for something rare, and
   what is rare goes through line_take. Returns 0 where the headers end before the empty line. */
TARGET static int ISA(lines_take)(struct sip_walk *w, uint32_t first, uint32_t last) {
    const uint8_t *const source = w->source;
    const size_t base = w->lines.base, anchor = w->count - 32;
    const int crlf = w->bare_line_feed == UINT32_MAX;
    size_t start = w->line_start, quote = w->lines.quoted || start < base ? quote_first(w) : UINT32_MAX;
    struct sip_header *row = w->headers + w->message->header_count;
    for (size_t i = first; i < last; i++) {
        size_t end = base + w->lines.ends[i];
        uint8_t tail[72];
        const uint8_t *line = source + start;
        if (TL_UNLIKELY(start > anchor)) line = tail_copy(tail, source + anchor, start - anchor);
        uint32_t length;
        const uint8_t id = ISA(line_name)(line, &length);
        size_t from = start + length + 1, to = end - 1;
        if (TL_UNLIKELY(!crlf)) to += source[to] != '\r';
        /* 0xd6 lets SP and HT through, and a few that are as rare at the beginning of a line. */
        if (TL_LIKELY(id && source[end + 1] & 0xd6)) {
            if (TL_LIKELY(source[from] == ' ')) from++;
            if (TL_LIKELY(source[from] > ' ' && source[to - 1] > ' ')) {
                *row++ = (struct sip_header){(uint32_t)start, (uint32_t)from, (uint32_t)(to - from),
                                             (uint16_t)length, id, 0};
                if (TL_UNLIKELY(quote < end)) quote = quotes_check(w, id, from, to, end);
                start = end + 1;
                continue;
            }
        }
        for (; sip_is_space(source[end + 1]); end = base + w->lines.ends[i]) {
            w->folded = 1; /* RFC 3261 §7.3.1: the header goes on */
            if (++i == last) break;
        }
        if (i == last) break;
        w->message->header_count = (uint32_t)(row - w->headers);
        if (!line_take(w, (uint32_t)start, (uint32_t)end)) return 0;
        if (quote < end) quote = quote_next(w, (uint32_t)end);
        row = w->headers + w->message->header_count;
        start = end + 1;
    }
    w->message->header_count = (uint32_t)(row - w->headers);
    w->line_start = (uint32_t)start;
    return 1;
}

TARGET static int ISA(walk)(struct sip_walk *w, int framing) {
    int result;
    do {
        ISA(lines_find)(w);
        uint32_t i = 0, count = w->lines.count;
        if (!w->started && count) {
            if ((result = start_take(w, w->lines.base + w->lines.ends[i++])) < 0) return result;
            w->started = 1;
        }
        /* The fast loop needs room for all rows, 32 bytes to look at, and a byte behind each line. */
        const int roomy = count - i <= w->capacity - w->message->header_count && w->count >= 32 && !w->folded;
        const int closed = count && w->lines.base + w->lines.ends[count - 1] + 1 == w->count;
        const uint32_t fast = roomy ? count - closed : i;
        if (fast > i && !ISA(lines_take)(w, i, fast)) return 0;
        if (fast < count && !lines_take_slowly(w, fast > i ? fast : i, count)) return 0;
        if (w->ended) return 0;
    } while (w->position < w->count);
    return walk_open(w, framing);
}
