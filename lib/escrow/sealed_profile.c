/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/sealed_profile.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "log.h"

#define DIGEST_SIZE 32

/** With its length before it, so that nothing moves from one to the next. */
static int add_bytes(EVP_MD_CTX *context, gh_bytes_t bytes)
{
    char length[24];

    apr_snprintf(length, sizeof(length), "%" APR_SIZE_T_FMT ":", bytes.length);
    return EVP_DigestUpdate(context, length, strlen(length)) == 1
        && (bytes.length == 0 || EVP_DigestUpdate(context, bytes.data, bytes.length) == 1);
}

/** NULL is not the empty text. */
static int add_text(EVP_MD_CTX *context, const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, text ? strlen(text) : 0 };

    return EVP_DigestUpdate(context, text ? "+" : "-", 1) == 1 && add_bytes(context, bytes);
}

static int digest_of(unsigned char digest[DIGEST_SIZE], const gh_escrow_profile_record_t *record)
{
    const char *const texts[] = {
        record->profile, record->device, record->user, record->format, record->needs,
        record->sign ? "sign" : "", record->labels, record->uem
    };
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int good = context != NULL && EVP_DigestInit_ex2(context, EVP_sha256(), NULL) == 1;
    apr_size_t i;

    for (i = 0; good && i < sizeof(texts) / sizeof(texts[0]); i++)
        good = add_text(context, texts[i]);
    good = good && add_bytes(context, record->skeleton) && add_bytes(context, record->recipient)
        && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

const char *gh_escrow_profile_identity(const char *device, const char *user, const char *profile,
                                       apr_pool_t *p)
{
    return apr_psprintf(p, "escrow-profile/%s/%s/%s", device, user, profile);
}

apr_status_t gh_escrow_profile_seal(gh_escrow_profile_record_t *record, const gh_vault_t *vault,
                                    apr_pool_t *p, gh_result_t *result)
{
    unsigned char digest[DIGEST_SIZE];
    gh_bytes_t plain = { digest, sizeof(digest) };
    gh_vaulted_t made;
    apr_status_t rv;

    if (!digest_of(digest, record))
        return APR_ENOMEM;
    rv = gh_vault_seal(&made, vault, plain,
                       gh_escrow_profile_identity(record->device, record->user, record->profile,
                                                  p), p, result);
    record->key_id = made.key_id;
    record->wrapped = made.wrapped;
    record->sealed = made.sealed;
    return rv;
}

apr_status_t gh_escrow_profile_verify(const gh_escrow_profile_record_t *record,
                                      const gh_vault_t *vault, apr_pool_t *p,
                                      gh_result_t *result)
{
    gh_vaulted_t row = { record->key_id, record->wrapped, record->sealed };
    unsigned char digest[DIGEST_SIZE];
    gh_bytes_t plain = { NULL, 0 };
    apr_status_t rv;

    if (!digest_of(digest, record))
        return APR_ENOMEM;
    if (row.key_id != NULL && row.sealed.length > 0) {
        rv = gh_vault_open(&plain, vault, &row,
                           gh_escrow_profile_identity(record->device, record->user,
                                                      record->profile, p), p, result);
        if (rv != APR_SUCCESS)
            return rv;
    }
    if (plain.length != sizeof(digest) || CRYPTO_memcmp(plain.data, digest, sizeof(digest)) != 0)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTEGRITY, "escrow.profile",
                              "See who changed the database; have the skeleton sent again.",
                              GHNO(1450) "the stored profile is not the one that was sent");
    return APR_SUCCESS;
}
