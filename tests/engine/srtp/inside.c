/* The SRTP kernel from the inside, for what its public functions do not reach: session keys that were not derived, indices near their end, memory
   that is refused, packets against a page that cannot be read. Built with address and undefined-behaviour checks; exit status 0 and "ok", or why not.

   session SUITE KEY SALT OPERATION INDEX PACKET   prints the packet, or the status
   exhausted | allocations | edges SUITE | fuzz SUITE SEED ROUNDS */
#define _GNU_SOURCE
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "srtp_private.h"

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) fprintf(stderr, "%d: %s\n", __LINE__, #condition), exit(1); \
    } while (0)

static uint32_t from_hex(const char *text, uint8_t *target, uint32_t room) {
    uint32_t count = 0;
    for (; text[0] && text[1]; text += 2) {
        unsigned byte;
        CHECK(count < room && sscanf(text, "%2x", &byte) == 1);
        target[count++] = (uint8_t)byte;
    }
    return count;
}

static void print_hex(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static uint32_t key_bytes(int suite) {
    static const uint8_t bytes[] = {30, 30, 38, 38, 46, 46, 28, 44};
    return bytes[suite];
}

static struct srtp *context_of(int suite, uint32_t mki_length, uint32_t window, uint8_t first) {
    uint8_t key[46], mki[128];
    for (uint32_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)(first + i);
    memset(mki, first, sizeof mki);
    const struct srtp_settings settings = {(uint8_t)suite, key, key_bytes(suite), mki, mki_length, 0, window};
    return srtp_new(&settings);
}

typedef uint32_t (*operation)(struct srtp_span *, uint32_t);
static const operation operations[] = {srtp_protect_batch, srtp_unprotect_batch, srtcp_protect_batch, srtcp_unprotect_batch};

static int apply(struct srtp *context, int which, uint8_t *bytes, uint32_t *length, uint32_t room) {
    struct srtp_span span = {context, bytes, *length, room, 77};
    const uint32_t well = operations[which](&span, 1);
    CHECK(well == (span.status == SRTP_OK));
    *length = span.length;
    return span.status;
}

static int session(char **arguments) {
    static uint8_t key[64], salt[SRTP_MAC_BYTES], bytes[SRTP_PACKET_MAX + SRTP_TRAILER_MAX];
    const int suite = atoi(arguments[0]), which = atoi(arguments[3]), control = which >= 2;
    const uint64_t index = strtoull(arguments[4], NULL, 10);
    from_hex(arguments[1], key, sizeof key);
    from_hex(arguments[2], salt, sizeof salt);
    uint32_t length = from_hex(arguments[5], bytes, sizeof bytes);
    struct srtp *context = context_of(suite, 0, 0, 1);
    struct srtp_cipher *cipher = &context->keys[0]->ciphers[control];
    const uint64_t most = cipher->packets_max;
    srtp_cipher_clear(cipher);
    CHECK(!srtp_cipher_set(cipher, &context->keys[0]->suite, key, salt, salt));
    cipher->packets_max = most;
    struct srtp_source *source = srtp_source_take(context->keys[0], srtp_read_32(bytes + (control ? 4 : 8)), 0);
    if (index) source->tracks[control].highest = index - 1, source->tracks[control].state = SRTP_TRACK_INHERITED;
    const int status = apply(context, which, bytes, &length, sizeof bytes);
    if (status) printf("%d\n", status);
    else print_hex(bytes, length);
    srtp_free(context);
    return 0;
}

/* RFC 3711 3.3.1 and 3.2.3: an index has an end, and behind it is a new key, not the index 0. */
static int exhausted(void) {
    struct srtp *context = context_of(0, 0, 0, 1);
    uint8_t bytes[64] = {0x80, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 5};
    uint32_t length = 20;
    struct srtp_source *source = srtp_source_take(context->keys[0], 5, 0);
    source->tracks[0].highest = SRTP_INDEX_MAX - 1;
    source->tracks[0].state = SRTP_TRACK_RUNNING;
    CHECK(apply(context, 0, bytes, &length, sizeof bytes) == SRTP_OK && source->tracks[0].highest == SRTP_INDEX_MAX);
    bytes[2] = bytes[3] = 0, length = 20;
    CHECK(apply(context, 0, bytes, &length, sizeof bytes) == SRTP_KEY_EXPIRED && source->tracks[0].highest == SRTP_INDEX_MAX);
    length = 40;
    CHECK(apply(context, 1, bytes, &length, sizeof bytes) == SRTP_KEY_EXPIRED);
    source->tracks[1].highest = SRTP_CONTROL_INDEX_MAX - 1;
    source->tracks[1].state = SRTP_TRACK_RUNNING;
    const uint8_t report[20] = {0x80, 201, 0, 1, 0, 0, 0, 5};
    memcpy(bytes, report, sizeof report), length = 8;
    CHECK(apply(context, 2, bytes, &length, sizeof bytes) == SRTP_OK && length == 22);
    memcpy(bytes, report, sizeof report), length = 8;
    CHECK(apply(context, 2, bytes, &length, sizeof bytes) == SRTP_KEY_EXPIRED && length == 8);
    srtp_free(context);
    return 0;
}

/* ---- allocations ---- */

static long allocations_left = -1, blocks_held;
static void *take(size_t size, const char *file, int line) {
    (void)file, (void)line;
    if (allocations_left > 0 && --allocations_left == 0) return NULL;
    void *made = malloc(size);
    blocks_held += made != NULL;
    return made;
}
static void *retake(void *at, size_t size, const char *file, int line) {
    if (!at) return take(size, file, line);
    return allocations_left > 0 && --allocations_left == 0 ? NULL : realloc(at, size);
}
static void give(void *at, const char *file, int line) {
    (void)file, (void)line;
    blocks_held -= at != NULL;
    free(at);
}

/* Each allocation of making a context and of rekeying fails once: NULL or a refusal, nothing kept, and what was there still works. */
static int allocations(void) {
    for (int suite = 0; suite < SRTP_SUITE_COUNT; suite++) {
        srtp_free(context_of(suite, 4, 0, 1)); /* libcrypto's own first time, with an error too */
        allocations_left = 4;
        srtp_free(context_of(suite, 4, 0, 1));
        allocations_left = -1;
        const long before = blocks_held;
        long failures = 0;
        for (long at = 1;; at++, failures++) {
            allocations_left = at;
            struct srtp *context = context_of(suite, 4, 0, 1);
            const int reached = allocations_left == 0;
            allocations_left = -1;
            uint8_t bytes[64] = {0x80, 0, 0, 7};
            uint32_t length = 20;
            CHECK(!context || apply(context, 0, bytes, &length, sizeof bytes) == SRTP_OK); /* libcrypto can do without some */
            CHECK(at > 3 || !context);
            srtp_free(context);
            CHECK(blocks_held == before);
            if (!reached) break;
        }
        CHECK(failures > 5);
        struct srtp *context = context_of(suite, 0, 0, 1);
        const uint8_t key[46] = {9};
        const struct srtp_settings other = {(uint8_t)suite, key, key_bytes(suite), NULL, 0, 0, 0};
        int status = SRTP_CRYPTO;
        for (long at = 1; status; at++) {
            uint8_t bytes[64] = {0x80, 0, 0, (uint8_t)at, 0, 0, 0, 0, 0, 0, 0, 5};
            uint32_t length = 20;
            allocations_left = at;
            status = srtp_rekey(context, &other);
            allocations_left = 1; /* none is needed for packets, a new SSRC's included */
            bytes[10] = (uint8_t)(at & 7);
            CHECK(apply(context, 0, bytes, &length, sizeof bytes) == SRTP_OK);
            allocations_left = -1;
            CHECK(context->key_count == (status ? 1u : 2u));
        }
        srtp_free(context);
        CHECK(blocks_held == before);
    }
    return 0;
}

/* ---- edges ---- */

/* A page that can be used between two that cannot. */
static uint8_t *fenced(void) {
    uint8_t *pages = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && !mprotect(pages + 4096, 4096, PROT_READ | PROT_WRITE));
    return pages + 4096;
}

static uint32_t sample(uint8_t *bytes, int control, uint32_t sequence, uint32_t payload) {
    const uint8_t rtp[] = {0x92, 0x80, (uint8_t)(sequence >> 8), (uint8_t)sequence, 1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0};
    const uint8_t report[] = {0x80, 200, 0, 6, 0, 0, 0, 9};
    const uint32_t head = control ? sizeof report : sizeof rtp;
    memcpy(bytes, control ? report : rtp, head);
    for (uint32_t i = 0; i < payload; i++) bytes[head + i] = (uint8_t)(i * 5 + sequence);
    return head + payload;
}

/* Every truncation, flush with the end of a page and with its beginning: refused, unchanged, and the whole packet is still taken afterwards. */
static void edges_of(int suite, int control, uint32_t mki_length) {
    uint8_t *page = fenced(), whole[512], plain[512];
    struct srtp *sender = context_of(suite, mki_length, 64, 3), *receiver = context_of(suite, mki_length, 64, 3);
    uint32_t length = sample(whole, control, 700, 61);
    const uint32_t plain_length = length;
    memcpy(plain, whole, length);
    CHECK(apply(sender, control ? 2 : 0, whole, &length, sizeof whole) == SRTP_OK);
    CHECK(length <= plain_length + SRTP_TRAILER_MAX);
    for (uint32_t cut = 0; cut <= length; cut++) {
        for (int end = 0; end < 2; end++) {
            uint8_t *at = end ? page + 4096 - cut : page;
            uint32_t got = cut;
            memcpy(at, whole, cut);
            const int status = apply(receiver, control ? 3 : 1, at, &got, cut);
            if (cut == length && !end) CHECK(status == SRTP_OK && got == plain_length && !memcmp(at, plain, got));
            else CHECK(status != SRTP_OK && got == cut && !memcmp(at, whole, cut));
        }
    }
    for (uint32_t room = 0; room < length; room++) { /* no room for the trailer: nothing is written, nothing counted as sent */
        uint8_t *at = page + 4096 - room;
        uint32_t got = plain_length < room ? plain_length : room;
        const uint32_t before = got;
        memcpy(at, plain, got);
        const int status = apply(sender, control ? 2 : 0, at, &got, room);
        CHECK((status == SRTP_TOO_SMALL || (status == SRTP_MALFORMED && got < 28)) && got == before && !memcmp(at, plain, got));
    }
    srtp_free(sender);
    srtp_free(receiver);
    munmap(page - 4096, 3 * 4096);
}

/* Batches whose packets all end with their page: many are worked on together, and none is read beyond. */
static void edges_together(int suite) {
    enum { TOGETHER = 21 };
    uint8_t *pages[TOGETHER], plain[TOGETHER][600];
    struct srtp *sender = context_of(suite, 2, 64, 3), *receiver = context_of(suite, 2, 64, 3);
    for (int i = 0; i < TOGETHER; i++) pages[i] = fenced();
    for (uint32_t payload = 0; payload < 200; payload++) {
        struct srtp_span spans[TOGETHER];
        for (uint32_t i = 0; i < TOGETHER; i++) {
            const uint32_t length = sample(plain[i], 0, payload * TOGETHER + i, payload + i / 17), room = length + 2 + sender->keys[0]->suite.tag_length;
            spans[i] = (struct srtp_span){sender, pages[i] + 4096 - room, length, room, 7};
            memcpy(spans[i].bytes, plain[i], length);
        }
        CHECK(srtp_protect_batch(spans, TOGETHER) == TOGETHER);
        for (uint32_t i = 0; i < TOGETHER; i++) {
            CHECK(spans[i].length == spans[i].room);
            spans[i].context = receiver;
        }
        CHECK(srtp_unprotect_batch(spans, TOGETHER) == TOGETHER);
        for (uint32_t i = 0; i < TOGETHER; i++) CHECK(!memcmp(spans[i].bytes, plain[i], spans[i].length));
    }
    for (int i = 0; i < TOGETHER; i++) munmap(pages[i] - 4096, 3 * 4096);
    srtp_free(sender);
    srtp_free(receiver);
}

static int edges(int suite) {
    edges_together(suite);
    for (int control = 0; control < 2; control++) {
        edges_of(suite, control, 0);
        edges_of(suite, control, 3);
        edges_of(suite, control, 128);
    }
    return 0;
}

/* ---- fuzz ---- */

static uint64_t random_state;
static uint32_t random_below(uint32_t most) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16) % most;
}

enum { ROOM = 1700, FUZZ_BATCH = 70 };

/* Batches in which packets are whole, broken, repeated or noise, in heap blocks of exactly their size. A broken one never comes out; what comes out is
   what went in; a batch of many does what as many batches of one do. */
static int fuzz(int suite, uint64_t seed, uint32_t rounds) {
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    struct srtp *sender = context_of(suite, seed % 3 * 2, 64, 5), *batch = context_of(suite, seed % 3 * 2, 64, 5), *single = context_of(suite, seed % 3 * 2, 64, 5);
    uint32_t sequence = random_below(65536);
    for (uint32_t round = 0; round < rounds; round++) {
        struct srtp_span spans[FUZZ_BATCH], ones[FUZZ_BATCH];
        uint8_t *plain[FUZZ_BATCH], intact[FUZZ_BATCH];
        uint32_t plain_length[FUZZ_BATCH];
        const int control = random_below(4) == 0;
        const uint32_t count = 1 + random_below(FUZZ_BATCH);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t bytes[ROOM + SRTP_TRAILER_MAX];
            sequence += random_below(20) ? 1 : random_below(40000);
            uint32_t length = sample(bytes, control, sequence, random_below(8) ? random_below(200) : random_below(ROOM - 40));
            plain[i] = malloc(length), plain_length[i] = length;
            memcpy(plain[i], bytes, length);
            intact[i] = apply(sender, control ? 2 : 0, bytes, &length, sizeof bytes) == SRTP_OK;
            switch (random_below(6)) {
            case 0: bytes[random_below(length)] ^= (uint8_t)(1u << random_below(8)), intact[i] = 0; break;
            case 1: length = random_below(length), intact[i] = 0; break;
            case 2:
                for (uint32_t j = 0; j < length; j++) bytes[j] = (uint8_t)random_below(256);
                intact[i] = 0;
                break;
            default: break;
            }
            spans[i] = (struct srtp_span){batch, malloc(length ? length : 1), length, length, 7};
            ones[i] = (struct srtp_span){single, malloc(length ? length : 1), length, length, 7};
            memcpy(spans[i].bytes, bytes, length);
            memcpy(ones[i].bytes, bytes, length);
        }
        uint32_t well = 0;
        const operation open = operations[control ? 3 : 1];
        for (uint32_t i = 0; i < count; i++) well += open(&ones[i], 1);
        CHECK(open(spans, count) == well);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(spans[i].status == ones[i].status && spans[i].length == ones[i].length && !memcmp(spans[i].bytes, ones[i].bytes, ones[i].length));
            CHECK(spans[i].status != SRTP_OK || (intact[i] && spans[i].length == plain_length[i] && !memcmp(spans[i].bytes, plain[i], plain_length[i])));
            free(spans[i].bytes), free(ones[i].bytes), free(plain[i]);
        }
    }
    struct srtp_counts counts;
    srtp_counts(batch, &counts);
    CHECK(counts.unprotected_packets > rounds);
    srtp_free(sender), srtp_free(batch), srtp_free(single);
    return 0;
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "session") && count == 8) return session(arguments + 2);
    int status = 2;
    if (!strcmp(what, "exhausted")) status = exhausted();
    if (!strcmp(what, "edges") && count == 3) status = edges(atoi(arguments[2]));
    if (!strcmp(what, "fuzz") && count == 5) status = fuzz(atoi(arguments[2]), strtoull(arguments[3], NULL, 10), (uint32_t)atoi(arguments[4]));
    if (!strcmp(what, "allocations")) {
        CHECK(CRYPTO_set_mem_functions(take, retake, give));
        status = allocations();
    }
    if (!status) printf("ok\n");
    return status;
}
