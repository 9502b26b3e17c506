/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_kept.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>

/* How long an answer lives in the cache when it has no nextUpdate */
#define WITHOUT_NEXT_UPDATE apr_time_from_sec(1)

/* A value of the second level: MAC | magic | entry | answer */
#define MAC_SIZE 32
#define MAGIC "GHO1"
#define MAGIC_SIZE 4
#define NUMBERS 10
#define HEAD_SIZE (MAC_SIZE + MAGIC_SIZE + NUMBERS * 8)

struct ocsp_kept {
    ocsp_cache_t *cache;
    const ocsp_second_level_t *second;      /* NULL: none */
    EVP_MD *sha256;
    EVP_MAC_CTX *mac;                       /* keyed, to be copied */
};

static apr_status_t free_kept(void *data)
{
    ocsp_kept_t *kept = data;

    EVP_MD_free(kept->sha256);
    EVP_MAC_CTX_free(kept->mac);
    return APR_SUCCESS;
}

static EVP_MAC_CTX *make_mac(gh_bytes_t key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

    EVP_MAC_free(hmac);
    if (context && EVP_MAC_init(context, key.data, key.length, params) != 1) {
        EVP_MAC_CTX_free(context);
        return NULL;
    }
    return context;
}

ocsp_kept_t *ocsp_kept_create(const ocsp_engine_options_t *options, apr_pool_t *p)
{
    ocsp_kept_t *kept = apr_pcalloc(p, sizeof(*kept));

    kept->cache = options->cache;
    kept->second = options->second_level;
    apr_pool_cleanup_register(p, kept, free_kept, apr_pool_cleanup_null);
    kept->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (kept->second) {
        kept->mac = make_mac(options->second_level_key);
    }
    if (!kept->sha256 || (kept->second && !kept->mac)) {
        ERR_clear_error();
        return NULL;
    }
    return kept;
}

void ocsp_kept_sha256(const ocsp_kept_t *kept, gh_bytes_t value, unsigned char digest[32])
{
    if (EVP_Digest(value.data, value.length, digest, NULL, kept->sha256, NULL) != 1) {
        memset(digest, 0, 32);
        ERR_clear_error();
    }
}

int ocsp_kept_possible(const ocsp_kept_t *kept, const ocsp_certid_t *id)
{
    return id->digest != NID_undef && id->serial.length > 0;
}

/* Rules */

int ocsp_kept_of_nobody(const ocsp_verdict_t *verdict)
{
    return verdict->status == V_OCSP_CERTSTATUS_UNKNOWN || verdict->extended_revoke;
}

/** Whether an answer may be served, by what is known now. */
static int may_serve(const ocsp_cache_entry_t *entry, const ocsp_verdict_t *verdict,
                     apr_time_t now)
{
    /* One from the future was made before the clock was set back: clients refuse it. */
    if (now >= entry->expiry || entry->produced_at > now + OCSP_CACHE_AHEAD) {
        return 0;
    }
    if (entry->version == verdict->version && entry->status == verdict->status
        && entry->reason == verdict->reason && entry->revoked_at == verdict->revoked_at) {
        return entry->next_update || entry->this_update == verdict->this_update;
    }
    /* Another node, or another process of this one, is ahead of us. How far it has followed its
     * sources says nothing of this certificate, of which we may know something newer. */
    return entry->next_update && entry->change > verdict->change
        && entry->version > verdict->version;
}

static void fill_entry(ocsp_cache_entry_t *entry, const ocsp_verdict_t *verdict,
                       apr_time_t next_update, apr_time_t now)
{
    apr_time_t life = next_update - now;

    memset(entry, 0, sizeof(*entry));
    entry->version = verdict->version;
    entry->change = verdict->change;
    entry->status = verdict->status;
    entry->reason = verdict->reason;
    entry->revoked_at = verdict->revoked_at;
    entry->produced_at = now - now % APR_USEC_PER_SEC;
    entry->this_update = verdict->this_update;
    entry->next_update = next_update;
    if (!next_update) {
        entry->expiry = entry->refresh_at = now + WITHOUT_NEXT_UPDATE;
        return;
    }
    entry->expiry = next_update;
    /* Between a half and three quarters of its life, so that those made together are not made
     * together again; what others keep ends later, when a newer one has long been there. */
    entry->refresh_at = now + life / 2 + life / 4 * (now % 1000) / 1000;
    entry->expires = next_update - life / 8;
}

/* The cache of the node */

static void make_key(ocsp_cache_key_t *key, const ocsp_kept_about_t *about)
{
    memset(key, 0, sizeof(*key));
    memcpy(key->authority, ocsp_authority_identity(about->authority), sizeof(key->authority));
    key->digest = (apr_uint32_t)about->id->digest;
    key->signer = about->signer ? (apr_uint16_t)about->signer->number : 0;
    key->flags = (unsigned char)about->id->has_null;
    key->serial_length = (unsigned char)about->id->serial.length;
    memcpy(key->serial, about->id->serial.data, about->id->serial.length);
}

static int find_of(ocsp_kept_t *kept, int part, const ocsp_cache_key_t *key,
                   const ocsp_kept_about_t *about, apr_time_t now, ocsp_cache_entry_t *entry,
                   gh_bytes_t *value, apr_pool_t *p)
{
    return ocsp_cache_get(kept->cache, part, key, now, entry, value, p)
        && may_serve(entry, about->verdict, now);
}

int ocsp_kept_find(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now,
                   ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p)
{
    ocsp_cache_key_t key;
    int part = ocsp_kept_of_nobody(about->verdict), i;
    const apr_array_header_t *signers;

    if (!kept->cache) {
        return 0;
    }
    make_key(&key, about);
    if (about->signer) {
        return find_of(kept, part, &key, about, now, entry, value, p);
    }
    /* Nobody can sign now: whoever has signed it and is still to be trusted. */
    signers = about->set ? ocsp_signer_set_all(about->set) : NULL;
    for (i = 0; signers && i < signers->nelts; ++i) {
        const ocsp_signer_t *signer = &APR_ARRAY_IDX(signers, i, ocsp_signer_t);

        key.signer = (apr_uint16_t)signer->number;
        if (now >= signer->not_before && now < signer->not_after
            && find_of(kept, part, &key, about, now, entry, value, p)) {
            return 1;
        }
    }
    return 0;
}

int ocsp_kept_claim(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now)
{
    ocsp_cache_key_t key;

    make_key(&key, about);
    return ocsp_cache_claim(kept->cache, ocsp_kept_of_nobody(about->verdict), &key, now);
}

static void put_here(ocsp_kept_t *kept, const ocsp_kept_about_t *about,
                     const ocsp_cache_entry_t *entry, gh_bytes_t value, apr_time_t now)
{
    ocsp_cache_key_t key;

    if (kept->cache) {
        make_key(&key, about);
        ocsp_cache_put(kept->cache, ocsp_kept_of_nobody(about->verdict), &key, entry, value, now);
    }
}

/* The second level */

static unsigned char *write_number(unsigned char *to, apr_int64_t number)
{
    int i;

    for (i = 0; i < 8; ++i) {
        to[i] = (unsigned char)((apr_uint64_t)number >> (56 - 8 * i));
    }
    return to + 8;
}

static const unsigned char *read_number(const unsigned char *from, apr_int64_t *number)
{
    apr_uint64_t value = 0;
    int i;

    for (i = 0; i < 8; ++i) {
        value = value << 8 | from[i];
    }
    *number = (apr_int64_t)value;
    return from + 8;
}

/** The key says all that an answer depends on in a way that is the same on all nodes. */
static int make_second_key(const ocsp_kept_t *kept, const ocsp_kept_about_t *about,
                           unsigned char key[32])
{
    const ocsp_certid_t *id = about->id;
    unsigned char text[MAGIC_SIZE + 32 + 8 + 8 + 20 + 8 + 20];
    unsigned char *at = text;

    memcpy(at, MAGIC, MAGIC_SIZE);
    at += MAGIC_SIZE;
    memcpy(at, ocsp_authority_identity(about->authority), 32);
    at = write_number(at + 32, id->digest);
    at = write_number(at, id->has_null);
    memcpy(at, about->signer->key_hash, 20);
    at = write_number(at + 20, (apr_int64_t)id->serial.length);
    memcpy(at, id->serial.data, id->serial.length);
    at += id->serial.length;
    return EVP_Digest(text, (size_t)(at - text), key, NULL, kept->sha256, NULL) == 1;
}

static int make_mac_of(const ocsp_kept_t *kept, const unsigned char key[32],
                       const unsigned char *data, apr_size_t length, unsigned char mac[MAC_SIZE])
{
    EVP_MAC_CTX *context = EVP_MAC_CTX_dup(kept->mac);
    size_t size = 0;
    int made = context && EVP_MAC_update(context, key, 32) == 1
        && EVP_MAC_update(context, data, length) == 1
        && EVP_MAC_final(context, mac, &size, MAC_SIZE) == 1 && size == MAC_SIZE;

    EVP_MAC_CTX_free(context);
    if (!made) {
        ERR_clear_error();
    }
    return made;
}

static void put_there(ocsp_kept_t *kept, const ocsp_kept_about_t *about,
                      const ocsp_cache_entry_t *entry, gh_bytes_t value, apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, HEAD_SIZE + value.length);
    unsigned char *at = data + MAC_SIZE;
    unsigned char key[32];
    gh_bytes_t whole = { data, HEAD_SIZE + value.length };

    memcpy(at, MAGIC, MAGIC_SIZE);
    at = write_number(at + MAGIC_SIZE, entry->version);
    at = write_number(at, entry->change);
    at = write_number(at, entry->status);
    at = write_number(at, entry->reason);
    at = write_number(at, entry->revoked_at);
    at = write_number(at, entry->produced_at);
    at = write_number(at, entry->this_update);
    at = write_number(at, entry->next_update);
    at = write_number(at, entry->refresh_at);
    at = write_number(at, entry->expires);
    memcpy(at, value.data, value.length);
    if (make_second_key(kept, about, key)
        && make_mac_of(kept, key, data + MAC_SIZE, whole.length - MAC_SIZE, data)) {
        kept->second->put(kept->second->baton, key, whole, entry->expiry, p);
    }
}

static int read_value(const ocsp_kept_t *kept, const unsigned char key[32], gh_bytes_t whole,
                      ocsp_cache_entry_t *entry, gh_bytes_t *value)
{
    unsigned char mac[MAC_SIZE];
    const unsigned char *at = whole.data + MAC_SIZE;
    apr_int64_t status, reason;

    if (whole.length <= HEAD_SIZE || whole.length > HEAD_SIZE + OCSP_CACHE_VALUE_MAX
        || !make_mac_of(kept, key, at, whole.length - MAC_SIZE, mac)
        || !gh_equal_secret(mac, MAC_SIZE, whole.data, MAC_SIZE)
        || memcmp(at, MAGIC, MAGIC_SIZE) != 0) {
        return 0;
    }
    memset(entry, 0, sizeof(*entry));
    at = read_number(at + MAGIC_SIZE, &entry->version);
    at = read_number(at, &entry->change);
    at = read_number(at, &status);
    at = read_number(at, &reason);
    at = read_number(at, &entry->revoked_at);
    at = read_number(at, &entry->produced_at);
    at = read_number(at, &entry->this_update);
    at = read_number(at, &entry->next_update);
    at = read_number(at, &entry->refresh_at);
    at = read_number(at, &entry->expires);
    entry->status = (apr_int32_t)status;
    entry->reason = (apr_int32_t)reason;
    entry->expiry = entry->next_update;
    value->data = at;
    value->length = whole.length - HEAD_SIZE;
    entry->length = (apr_uint32_t)value->length;
    ocsp_kept_sha256(kept, *value, entry->sha256);
    return 1;
}

int ocsp_kept_fetch(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now,
                    ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p)
{
    unsigned char key[32];
    gh_bytes_t whole;

    if (!kept->second || !about->signer || !about->verdict->next_update
        || ocsp_kept_of_nobody(about->verdict) || !make_second_key(kept, about, key)
        || kept->second->get(kept->second->baton, key, &whole, p) != APR_SUCCESS
        || !read_value(kept, key, whole, entry, value)
        || !may_serve(entry, about->verdict, now)) {
        return 0;
    }
    put_here(kept, about, entry, *value, now);
    return 1;
}

void ocsp_kept_put(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t next_update,
                   gh_bytes_t value, apr_time_t now, ocsp_cache_entry_t *entry, apr_pool_t *p)
{
    fill_entry(entry, about->verdict, next_update, now);
    entry->length = (apr_uint32_t)value.length;
    ocsp_kept_sha256(kept, value, entry->sha256);
    put_here(kept, about, entry, value, now);
    /* What nobody has issued has no place there: strangers would fill it with random numbers. */
    if (kept->second && next_update && !ocsp_kept_of_nobody(about->verdict)
        && value.length <= OCSP_CACHE_VALUE_MAX) {
        put_there(kept, about, entry, value, p);
    }
}
