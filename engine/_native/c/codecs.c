/* All codecs. */
#include "codec.h"

const struct codec *const codecs[] = {&codec_pcmu, &codec_pcma, &codec_g722, &codec_l16, &codec_opus};
const uint32_t codec_count = sizeof codecs / sizeof *codecs;

static int same(char first, char second) {
    if (first >= 'A' && first <= 'Z') first = (char)(first | 0x20);
    if (second >= 'A' && second <= 'Z') second = (char)(second | 0x20);
    return first == second;
}

int codec_by_name(const char *name, uint32_t length) {
    for (uint32_t number = 0; number < codec_count; number++) {
        const char *known = codecs[number]->name;
        uint32_t at = 0;
        while (at < length && known[at] && same(name[at], known[at])) at++;
        if (at == length && !known[at]) return (int)number;
    }
    return -1;
}
