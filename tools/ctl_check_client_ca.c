/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check about the CAs of others whose certificates callers of WSTEP may show. */

#include "ctl_verdict.h"

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "x509/crl_read.h"
#include "x509/own.h"

#define RULE "check"
#define NAME "wstep.client-ca"

/** A CRL that ends so soon is worth a word. */
#define ENDS_SOON apr_time_from_sec(86400)

/** The end of the CRL that is over first; 0 if there is none. */
static apr_time_t first_end(gh_bytes_t pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    apr_time_t first = 0;
    X509_CRL *crl;

    while (bio != NULL && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        apr_time_t end = gh_asn1_time(X509_CRL_get0_nextUpdate(crl));

        first = first == 0 || end < first ? end : first;
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    ERR_clear_error();
    return first;
}

static void check_file(ctl_check_t *check, const char *path)
{
    gh_result_t result;
    gh_file_t file;
    apr_time_t end, now = apr_time_now();

    gh_result_clear(&result);
    if (gh_file_read(&file, path, check->p, &result) != APR_SUCCESS) {
        ctl_verdict(check, NAME, CTL_VERDICT_ERROR, &result);
        return;
    }
    end = first_end(file.bytes);
    if (end > now + ENDS_SOON) {
        ctl_verdict_ok(check, NAME, "the CRLs of %s are good until %s", path,
                       gh_time_text(check->p, end));
        return;
    }
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                   "Write a new CRL into the file, and restart httpd gracefully.",
                   GHNO(1492) "%s has a CRL that is %s (%s); then nobody gets in by a certificate "
                   "of that CA", path, end <= now ? "over" : "over soon",
                   gh_time_text(check->p, end));
    ctl_verdict(check, NAME, end <= now ? CTL_VERDICT_ERROR : CTL_VERDICT_WARNING, &result);
}

void ctl_check_client_cas(ctl_check_t *check)
{
    apr_hash_t *seen = apr_hash_make(check->p);
    const json_t *endpoint;
    size_t i;

    json_array_foreach(check->ctl->config->wstep, i, endpoint) {
        const char *path = json_string_value(json_object_get(endpoint, "client_ca"));

        if (path != NULL && apr_hash_get(seen, path, APR_HASH_KEY_STRING) == NULL) {
            apr_hash_set(seen, path, APR_HASH_KEY_STRING, path);
            check_file(check, path);
        }
    }
}
