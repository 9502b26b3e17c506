/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_verdicts.h"

#include <string.h>

#include <apr_thread_mutex.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define KEY_LENGTH 32
#define MAC_LENGTH 32
#define SLOTS 4096
/** A digest may stand in one of so many places. */
#define WAYS 4

typedef struct {
    unsigned char mac[MAC_LENGTH];
    apr_time_t until;
    wstep_verdict_t verdict;
} slot_t;

struct wstep_verdicts {
    apr_interval_time_t lifetime;
    apr_thread_mutex_t *mutex;
    unsigned char key[KEY_LENGTH];
    slot_t slots[SLOTS];
};

static apr_status_t forget(void *data)
{
    OPENSSL_cleanse(data, sizeof(wstep_verdicts_t));
    return APR_SUCCESS;
}

wstep_verdicts_t *wstep_verdicts_create(apr_interval_time_t lifetime, apr_pool_t *p)
{
    wstep_verdicts_t *verdicts = apr_pcalloc(p, sizeof(*verdicts));

    verdicts->lifetime = lifetime;
    if (RAND_bytes(verdicts->key, KEY_LENGTH) != 1
        || apr_thread_mutex_create(&verdicts->mutex, APR_THREAD_MUTEX_DEFAULT, p)
               != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, verdicts, forget, apr_pool_cleanup_null);
    return verdicts;
}

/** The parts with their final zeros, so that none runs into the next. */
static int digest(unsigned char *mac, const wstep_verdicts_t *verdicts, const char *scope,
                  const char *user, const char *password)
{
    const char *const parts[] = { scope, user, password };
    unsigned char text[4096];
    apr_size_t i, length = 0;
    unsigned int size = MAC_LENGTH;
    int good;

    for (i = 0; i < 3; ++i) {
        apr_size_t part = strlen(parts[i]) + 1;

        if (part > sizeof(text) - length) {
            OPENSSL_cleanse(text, length);
            return 0;
        }
        memcpy(text + length, parts[i], part);
        length += part;
    }
    good = HMAC(EVP_sha256(), verdicts->key, KEY_LENGTH, text, length, mac, &size) != NULL;
    OPENSSL_cleanse(text, length);
    return good;
}

static slot_t *first_slot(wstep_verdicts_t *verdicts, const unsigned char *mac)
{
    return &verdicts->slots[(mac[0] << 8 | mac[1]) % (SLOTS / WAYS) * WAYS];
}

wstep_verdict_t wstep_verdicts_find(wstep_verdicts_t *verdicts, const char *scope,
                                    const char *user, const char *password, apr_time_t now)
{
    wstep_verdict_t verdict = WSTEP_VERDICT_NONE;
    unsigned char mac[MAC_LENGTH];
    slot_t *slot;
    int i;

    if (!verdicts->lifetime || !digest(mac, verdicts, scope, user, password)) {
        return WSTEP_VERDICT_NONE;
    }
    slot = first_slot(verdicts, mac);
    apr_thread_mutex_lock(verdicts->mutex);
    for (i = 0; i < WAYS; ++i, ++slot) {
        if (slot->until > now && slot->until <= now + verdicts->lifetime
            && !CRYPTO_memcmp(slot->mac, mac, MAC_LENGTH)) {
            verdict = slot->verdict;
        }
    }
    apr_thread_mutex_unlock(verdicts->mutex);
    return verdict;
}

void wstep_verdicts_keep(wstep_verdicts_t *verdicts, const char *scope, const char *user,
                         const char *password, wstep_verdict_t verdict, apr_time_t now)
{
    unsigned char mac[MAC_LENGTH];
    slot_t *slot, *oldest;
    int i;

    if (!verdicts->lifetime || !digest(mac, verdicts, scope, user, password)) {
        return;
    }
    slot = oldest = first_slot(verdicts, mac);
    apr_thread_mutex_lock(verdicts->mutex);
    for (i = 0; i < WAYS; ++i, ++slot) {
        if (slot->until < oldest->until) {
            oldest = slot;
        }
    }
    memcpy(oldest->mac, mac, MAC_LENGTH);
    oldest->until = now + verdicts->lifetime;
    oldest->verdict = verdict;
    apr_thread_mutex_unlock(verdicts->mutex);
}
