/* Session keys from master keys (RFC 3711 4.3, RFC 6188, RFC 7714 11), the key derivation rate being zero. */
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "srtp_private.h"

#define MASTER_SALT_BYTES 14
#define DERIVED_BLOCKS 2 /* of the longest session key */

static const struct srtp_suite_facts suites[SRTP_SUITE_COUNT] = {
    [SRTP_AES_CM_128_HMAC_SHA1_80] = {16, 14, 10, 10, 0}, [SRTP_AES_CM_128_HMAC_SHA1_32] = {16, 14, 4, 10, 0},
    [SRTP_AES_192_CM_HMAC_SHA1_80] = {24, 14, 10, 10, 0}, [SRTP_AES_192_CM_HMAC_SHA1_32] = {24, 14, 4, 10, 0},
    [SRTP_AES_256_CM_HMAC_SHA1_80] = {32, 14, 10, 10, 0}, [SRTP_AES_256_CM_HMAC_SHA1_32] = {32, 14, 4, 10, 0},
    [SRTP_AEAD_AES_128_GCM] = {16, 12, 16, 16, 1},        [SRTP_AEAD_AES_256_GCM] = {32, 12, 16, 16, 1},
};

enum { LABEL_ENCRYPTION = 0, LABEL_AUTHENTICATION = 1, LABEL_SALT = 2, LABELS_PER_CIPHER = 3 };

static EVP_CIPHER_CTX *ecb_new(const uint8_t *key, uint32_t length) {
    const EVP_CIPHER *cipher = length == 16 ? EVP_aes_128_ecb() : length == 24 ? EVP_aes_192_ecb() : EVP_aes_256_ecb();
    EVP_CIPHER_CTX *ecb = EVP_CIPHER_CTX_new();
    if (ecb && EVP_EncryptInit_ex(ecb, cipher, NULL, key, NULL) == 1 && EVP_CIPHER_CTX_set_padding(ecb, 0) == 1) return ecb;
    EVP_CIPHER_CTX_free(ecb);
    return NULL;
}

/* 4.3.3: keystream whose counter begins at the master salt with the label added. A GCM salt is the left part of one in counter mode. */
static int derive(EVP_CIPHER_CTX *master, const uint8_t salt[MASTER_SALT_BYTES], uint8_t label, uint8_t target[16 * DERIVED_BLOCKS]) {
    uint8_t counters[16 * DERIVED_BLOCKS] = {0};
    int made = 0;
    for (uint8_t i = 0; i < DERIVED_BLOCKS; i++) {
        memcpy(counters + 16 * i, salt, MASTER_SALT_BYTES);
        counters[16 * i + 7] ^= label;
        counters[16 * i + 15] = i;
    }
    return EVP_EncryptUpdate(master, target, &made, counters, sizeof counters) == 1 && made == sizeof counters ? 0 : SRTP_CRYPTO;
}

int srtp_cipher_set(struct srtp_cipher *cipher, const struct srtp_suite_facts *suite, const uint8_t *key, const uint8_t *salt, const uint8_t *authentication) {
    uint8_t counter[16] = {0};
    memcpy(counter, salt, suite->salt_length);
    cipher->salt_high = srtp_read_64(counter);
    cipher->salt_low = srtp_read_64(counter + 8);
    OPENSSL_cleanse(counter, sizeof counter);
    cipher->is_gcm = suite->is_gcm;
    cipher->last_job = SRTP_NO_JOB;
    if (!(cipher->ecb = ecb_new(key, suite->key_length))) return SRTP_CRYPTO;
    if (suite->is_gcm) return srtp_ghash_new(cipher);
    srtp_hmac_key(&cipher->hmac, authentication);
    return SRTP_OK;
}

void srtp_cipher_clear(struct srtp_cipher *cipher) {
    EVP_CIPHER_CTX_free(cipher->ecb); /* both wipe what they free */
    CRYPTO_gcm128_release(cipher->ghash);
    OPENSSL_cleanse(cipher, sizeof *cipher);
}

static int cipher_init(struct srtp_cipher *cipher, EVP_CIPHER_CTX *master, const uint8_t salt[MASTER_SALT_BYTES], const struct srtp_suite_facts *suite,
                       uint8_t first_label) {
    uint8_t texts[LABELS_PER_CIPHER][16 * DERIVED_BLOCKS];
    int status = SRTP_OK;
    for (uint8_t label = 0; label < LABELS_PER_CIPHER && !status; label++) status = derive(master, salt, (uint8_t)(first_label + label), texts[label]);
    if (!status) status = srtp_cipher_set(cipher, suite, texts[LABEL_ENCRYPTION], texts[LABEL_SALT], texts[LABEL_AUTHENTICATION]);
    OPENSSL_cleanse(texts, sizeof texts);
    return status;
}

static int settings_fit(const struct srtp_settings *s) {
    if (!s || s->suite >= SRTP_SUITE_COUNT || !s->key || s->key_length != (uint32_t)suites[s->suite].key_length + suites[s->suite].salt_length)
        return 0;
    return s->mki_length <= SRTP_MKI_MAX && (!s->mki_length || s->mki) && (!s->window || (s->window >= 64 && s->window <= 1024 && s->window % 64 == 0));
}

static uint64_t least(uint64_t lifetime, uint64_t most) { return lifetime && lifetime < most ? lifetime : most; }

static int key_init(struct srtp_key *key, const struct srtp_settings *settings) {
    uint8_t salt[MASTER_SALT_BYTES] = {0};
    ERR_set_mark(); /* others of this thread look for errors of their own in libcrypto's queue */
    memcpy(salt, settings->key + key->suite.key_length, key->suite.salt_length);
    EVP_CIPHER_CTX *master = ecb_new(settings->key, key->suite.key_length);
    int status = master ? SRTP_OK : SRTP_CRYPTO;
    for (uint8_t i = 0; i < 2 && !status; i++) status = cipher_init(&key->ciphers[i], master, salt, &key->suite, (uint8_t)(i * LABELS_PER_CIPHER));
    key->ciphers[0].packets_max = least(settings->lifetime, SRTP_INDEX_MAX + 1);
    key->ciphers[1].packets_max = least(settings->lifetime, SRTP_CONTROL_INDEX_MAX + 1);
    EVP_CIPHER_CTX_free(master);
    OPENSSL_cleanse(salt, sizeof salt);
    ERR_pop_to_mark();
    return status;
}

struct srtp_key *srtp_key_new(const struct srtp_settings *settings) {
    if (!settings_fit(settings)) return NULL;
    const uint32_t window = settings->window ? settings->window : 128;
    uint32_t words = 2;
    while (words * 64 < window + 64) words *= 2; /* a window that begins inside a word ends inside another */
    const size_t size = sizeof(struct srtp_key) + 2 * SRTP_SOURCES_MAX * words * sizeof(uint64_t);
    struct srtp_key *key = OPENSSL_zalloc(size);
    if (!key) return NULL;
    key->size = size;
    key->window = window;
    key->words = words;
    key->suite = suites[settings->suite];
    key->mki_length = settings->mki_length;
    if (settings->mki_length) memcpy(key->mki, settings->mki, settings->mki_length);
    if (!key_init(key, settings)) return key;
    srtp_key_free(key);
    return NULL;
}

void srtp_key_free(struct srtp_key *key) {
    if (!key) return;
    for (uint32_t i = 0; i < 2; i++) srtp_cipher_clear(&key->ciphers[i]);
    OPENSSL_clear_free(key, key->size);
}
