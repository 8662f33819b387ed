/* Counts the records of a capture through libpcap: `pcap_walk FILE`. Prints records, bytes, nanoseconds. The
   prototypes are declared here, so that the library alone is needed, not its development package. */
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

typedef struct pcap pcap_t;
struct pcap_pkthdr {
    struct timeval ts;
    uint32_t caplen, len;
};
pcap_t *pcap_open_offline(const char *name, char *error);
int pcap_next_ex(pcap_t *capture, struct pcap_pkthdr **header, const uint8_t **bytes);
void pcap_close(pcap_t *capture);

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

int main(int argc, char **argv) {
    char error[256];
    if (argc != 2) return 2;
    uint64_t begin = now_ns(), records = 0, octets = 0;
    pcap_t *capture = pcap_open_offline(argv[1], error);
    if (!capture) return 1;
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    while (pcap_next_ex(capture, &header, &bytes) == 1) {
        records++;
        octets += header->caplen;
    }
    pcap_close(capture);
    printf("%llu %llu %llu\n", (unsigned long long)records, (unsigned long long)octets,
           (unsigned long long)(now_ns() - begin));
    return 0;
}
