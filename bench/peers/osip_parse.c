/* Times GNU oSIP's parser: `osip_parse FILE REPEAT sip|sdp`. FILE holds records of a 32-bit length and a message
   (or a session description). Prints: parsed, refused, hash of the Call-IDs (or media counts), nanoseconds of
   the fastest pass. */
#include <osipparser2/osip_parser.h>
#include <osipparser2/sdp_message.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tally {
    uint64_t parsed, refused, hash;
};

static uint64_t hash_bytes(uint64_t hash, const char *text) {
    for (; text && *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

/* One message into oSIP's structures and out again. */
static void parse_sip(const char *text, size_t length, struct tally *tally, int hashing) {
    osip_message_t *message;
    osip_message_init(&message);
    if (osip_message_parse(message, text, length)) tally->refused++;
    else tally->parsed++;
    if (hashing && message->call_id) {
        tally->hash = hash_bytes(tally->hash, message->call_id->number);
        if (message->call_id->host) tally->hash = hash_bytes(hash_bytes(tally->hash, "@"), message->call_id->host);
        tally->hash = hash_bytes(tally->hash, "\n");
    }
    osip_message_free(message);
}

static void parse_sdp(const char *text, struct tally *tally) {
    sdp_message_t *description;
    sdp_message_init(&description);
    if (sdp_message_parse(description, text)) tally->refused++;
    else tally->parsed++;
    tally->hash += (uint64_t)osip_list_size(&description->m_medias);
    sdp_message_free(description);
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void pass(char *source, size_t count, int is_sdp, struct tally *tally, int hashing) {
    for (size_t at = 0; at + 4 <= count;) {
        uint32_t length;
        memcpy(&length, source + at, 4);
        if (is_sdp) parse_sdp(source + at + 4, tally); /* records of descriptions end in a zero byte */
        else parse_sip(source + at + 4, length, tally, hashing);
        at += 4 + length;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 1;
    size_t count = (size_t)ftell(file);
    rewind(file);
    char *source = malloc(count + 1);
    if (!source || fread(source, 1, count, file) != count) return 1;
    source[count] = 0;
    parser_init();
    int is_sdp = !strcmp(argv[3], "sdp");
    struct tally first = {0, 0, is_sdp ? 0 : 0xcbf29ce484222325u};
    pass(source, count, is_sdp, &first, 1);
    uint64_t best = UINT64_MAX;
    for (int repeat = atoi(argv[2]); repeat > 0; repeat--) {
        struct tally again = {0, 0, 0};
        uint64_t begin = now_ns();
        pass(source, count, is_sdp, &again, 0);
        uint64_t taken = now_ns() - begin;
        if (taken < best) best = taken;
    }
    printf("%llu %llu %llu %llu\n", (unsigned long long)first.parsed, (unsigned long long)first.refused,
           (unsigned long long)first.hash, (unsigned long long)best);
    return 0;
}
