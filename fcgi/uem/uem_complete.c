/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_complete.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/needs.h"
#include "escrow/sealed_profile.h"
#include "log.h"
#include "mod_escrow/escrow_identity.h"
#include "status.h"

#define RULE "uem.complete"

static int all_there(const gh_escrow_profile_record_t *profile,
                     const apr_array_header_t *credentials, apr_pool_t *p)
{
    int counts[GH_ESCROW_PURPOSES + 1] = { 0, 0, 0, 0 };
    int i;

    for (i = 0; i < credentials->nelts; ++i) {
        ++counts[APR_ARRAY_IDX(credentials, i, gh_escrow_credential_record_t *)->purpose];
    }
    return !gh_escrow_needs_missing(profile->needs, counts, p)->nelts;
}

/** A key that no configured one opens may be opened tomorrow: somebody has to configure it. */
static apr_status_t open_key(escrow_credential_t *credential, const uem_worker_t *worker,
                             const gh_escrow_profile_record_t *profile,
                             const gh_escrow_credential_record_t *one, apr_pool_t *p,
                             gh_result_t *result)
{
    gh_vaulted_t row = { one->key_id, one->wrapped, one->sealed };
    const char *identity = gh_vault_identity(profile->device, profile->user, one->purpose,
                                             one->sha256.data, p);

    return gh_vault_open(&credential->key, worker->vault, &row, identity, p, result)
        == APR_SUCCESS ? APR_SUCCESS : GH_EUNAVAILABLE;
}

/** Those that the template does not use are there without a key, so that positions are right. A
 *  token's position counts those that are there: what is stored has gaps where some have gone. */
static apr_status_t make_set(escrow_set_t *set, const uem_worker_t *worker,
                             const gh_escrow_profile_record_t *profile,
                             const escrow_template_t *template,
                             const apr_array_header_t *credentials, apr_pool_t *p,
                             gh_result_t *result)
{
    int counts[GH_ESCROW_PURPOSES + 1] = { 0 };
    apr_status_t rv = APR_SUCCESS;
    int i;

    memset(set, 0, sizeof(*set));
    for (i = 0; rv == APR_SUCCESS && i < credentials->nelts; ++i) {
        const gh_escrow_credential_record_t *one
            = APR_ARRAY_IDX(credentials, i, gh_escrow_credential_record_t *);
        escrow_credential_t *credential = apr_pcalloc(p, sizeof(*credential));
        escrow_use_t use = (escrow_use_t)one->purpose;

        rv = escrow_credential_describe(credential, worker->opener, one->certificate, p,
                                        result);
        credential->chain = one->chain;
        if (rv == APR_SUCCESS
            && (one->sha256.length != sizeof(credential->sha256)
                || memcmp(credential->sha256, one->sha256.data, sizeof(credential->sha256)))) {
            rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_INTEGRITY, RULE,
                                "Somebody has changed the store; restore it, or have the "
                                "credentials uploaded again.",
                                GHNO(1248) "a stored credential is not the one that was uploaded");
        }
        if (rv == APR_SUCCESS && escrow_template_uses(template, use, counts[use]++)) {
            rv = open_key(credential, worker, profile, one, p, result);
        }
        escrow_set_add(set, use, credential, p);
    }
    return rv;
}

static apr_status_t complete(escrow_document_t *document, const uem_worker_t *worker,
                             const gh_escrow_profile_record_t *profile,
                             const apr_array_header_t *credentials, apr_pool_t *p,
                             gh_result_t *result)
{
    escrow_output_t output = {
        .opener = worker->opener, .pkcs12 = worker->pkcs12, .transport = worker->transport,
        .signer = profile->sign ? worker->signer : NULL, .profile = profile->profile,
        .generation = profile->generation
    };
    escrow_template_t *template;
    escrow_recipient_t *recipient;
    escrow_set_t set;
    apr_status_t rv;

    if (profile->sign && !worker->signer) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                              "Configure EscrowProfileSigner.",
                              GHNO(1249) "the profile is to be signed, and there is nobody to "
                              "sign it");
    }
    rv = gh_escrow_profile_verify(profile, worker->vault, p, result);
    if (rv != APR_SUCCESS) {
        /* a key that is not configured, or a token that does not answer, may be there tomorrow */
        return rv == APR_EINVAL ? rv : GH_EUNAVAILABLE;
    }
    rv = escrow_template_read(&template, profile->format, profile->skeleton, p, result);
    if (rv == APR_SUCCESS) {
        rv = escrow_recipient_read(&recipient, profile->recipient, apr_time_now(), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = make_set(&set, worker, profile, template, credentials, p, result);
    }
    return rv == APR_SUCCESS
        ? escrow_complete(document, template, &set, recipient, &output, p, result) : rv;
}

apr_status_t uem_check_recipient(gh_transaction_t *transaction, const uem_worker_t *worker,
                                 const gh_escrow_profile_record_t *profile, apr_pool_t *p,
                                 gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    gh_escrow_recipient_record_t *bound;
    escrow_recipient_t *recipient;
    escrow_identity_t identity;
    apr_status_t rv;

    if (escrow_recipient_read(&recipient, profile->recipient, now, p, result) != APR_SUCCESS) {
        return GH_EREFUSED;
    }
    escrow_identity_begin(&identity, &worker->trust, recipient, profile->device, now, p);
    rv = escrow_identity_check(transaction, &identity, p);
    if (rv == GH_EREFUSED) {
        *result = identity.why;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_recipient_find(transaction, profile->device, &bound, p);
    }
    if (rv == APR_NOTFOUND
        || (rv == APR_SUCCESS
            && (bound->spki_sha256.length != 32
                || memcmp(bound->spki_sha256.data, escrow_recipient_key_sha256(recipient), 32)))) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                              "Have the skeleton sent again with the certificate that the device "
                              "has now.",
                              GHNO(1453) "device %.64s is not known by the key that the profile "
                              "would be encrypted to", profile->device);
    }
    return rv;
}

apr_status_t uem_complete(gh_bytes_t *out, const uem_worker_t *worker,
                          const gh_escrow_profile_record_t *profile,
                          const apr_array_header_t *credentials,
                          apr_pool_t *p, gh_result_t *result)
{
    escrow_document_t document;
    apr_pool_t *ptemp;
    apr_status_t rv;

    if (!all_there(profile, credentials, p)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, RULE,
                              "Upload them again.",
                              GHNO(1250) "credentials that the profile needs are not there any "
                              "more");
    }
    /* with it go the keys */
    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    rv = complete(&document, worker, profile, credentials, ptemp, result);
    if (rv == APR_SUCCESS) {
        out->length = document.bytes.length;
        out->data = apr_pmemdup(p, document.bytes.data, document.bytes.length);
    }
    else if (rv == GH_EREFUSED) {
        rv = APR_EINVAL;            /* it is complete, as far as the store knows */
    }
    apr_pool_destroy(ptemp);
    return rv;
}
