/* One block of groups for one set of instructions: included by resample.c for each, with RESAMPLE_WAY (suffix), RESAMPLE_TARGET and
   RESAMPLE_INLINE set, and `sums_<way>` there. */

/* `count` groups of `streams` samples, dealt out to rows of RESAMPLE_ROW. */
RESAMPLE_INLINE void RESAMPLE_WAY(deal)(const int16_t *restrict in, size_t streams, size_t count, int16_t *restrict rows) {
    for (size_t m = 0; m < streams; m++)
        for (size_t i = 0; i < count; i++) rows[m * RESAMPLE_ROW + i] = in[i * streams + m];
}

RESAMPLE_INLINE void RESAMPLE_WAY(collect)(const int16_t (*restrict rows)[RESAMPLE_BLOCK], size_t phases, size_t count, int16_t *restrict out) {
    for (size_t i = 0; i < count; i++)
        for (size_t p = 0; p < phases; p++) out[i * phases + p] = rows[p][i];
}

/* `rows` has the history of each stream, room for `count` groups behind, rounded up to RESAMPLE_STEP. */
RESAMPLE_TARGET static void RESAMPLE_WAY(block)(const struct resample_filter *f, int16_t *rows, const int16_t *in, uint32_t count, int16_t *out) {
    int16_t made[RESAMPLE_RATIO_MAX][RESAMPLE_BLOCK] __attribute__((aligned(64)));
    int16_t *fresh = rows + f->taps - 1;
    switch (f->down) {
        case 1: memcpy(fresh, in, count * sizeof *in); break;
        case 2: RESAMPLE_WAY(deal)(in, 2, count, fresh); break;
        case 3: RESAMPLE_WAY(deal)(in, 3, count, fresh); break;
        case 4: RESAMPLE_WAY(deal)(in, 4, count, fresh); break;
        default: RESAMPLE_WAY(deal)(in, 6, count, fresh); break;
    }
    for (uint32_t m = 0; m < f->down; m++) memset(fresh + m * RESAMPLE_ROW + count, 0, (RESAMPLE_STEP - 1) * sizeof *fresh);
    for (uint32_t p = 0; p < f->up; p++) RESAMPLE_WAY(sums)(f, f->taps_of + p * f->down * f->taps * 2, rows, count, made[p]);
    switch (f->up) {
        case 1: memcpy(out, made[0], count * sizeof *out); break;
        case 2: RESAMPLE_WAY(collect)(made, 2, count, out); break;
        case 3: RESAMPLE_WAY(collect)(made, 3, count, out); break;
        case 4: RESAMPLE_WAY(collect)(made, 4, count, out); break;
        default: RESAMPLE_WAY(collect)(made, 6, count, out); break;
    }
}
