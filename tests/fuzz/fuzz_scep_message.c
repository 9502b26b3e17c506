/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A SCEP message: CMS SignedData, its attributes and signer, EnvelopedData, and what is in that.
 * Goes on behind a signature that is not valid, since a fuzzer cannot sign; the reply is made too,
 * as a server would for every message that it could read. Replies are explained, and all else.
 */

#include <stdint.h>
#include <stdlib.h>

#include <apr_general.h>
#include <openssl/err.h>

#include "decoding_support.h"
#include "mod_scep/scep_asn1.h"
#include "mod_scep/scep_explain.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_reply.h"
#include "scep_builder.h"
#include "x509/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;
static OSSL_LIB_CTX *decoding;
static scep_recipient_t ra;         /* not in a pool, where leak checkers do not look */
static apr_array_header_t *recipients, *authorities;

/* The corpus is encrypted to this key under this name. */
static void initialise(void)
{
    apr_initialize();
    apr_pool_create(&global, NULL);
    decoding = decoding_context(global);
    ra.key = scep_test_key("rsa2048-04", global);
    ra.certificate = scep_test_certificate(ra.key, "Fuzz RA", NULL, NULL, 0, global);
    recipients = apr_array_make(global, 1, sizeof(scep_recipient_t));
    APR_ARRAY_PUSH(recipients, scep_recipient_t) = ra;
    authorities = apr_array_make(global, 1, sizeof(X509 *));
}

static void read_content(const scep_message_t *message, const scep_recipient_t *recipient,
                         apr_pool_t *p)
{
    SCEP_ISSUER_AND_SUBJECT *names;
    const unsigned char *at;
    gh_bytes_t content;
    gh_csr_t *csr;

    if (scep_message_open(message, recipient, &content, p) != APR_SUCCESS) {
        return;
    }
    if (gh_csr_parse(&csr, content.data, content.length, decoding, p, NULL) == APR_SUCCESS) {
        gh_csr_verify(csr, 1, NULL);
    }
    at = content.data;
    names = d2i_SCEP_ISSUER_AND_SUBJECT(NULL, &at, (long)content.length);
    SCEP_ISSUER_AND_SUBJECT_free(names);
    ERR_clear_error();
}

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void explain(gh_bytes_t der, apr_pool_t *p)
{
    scep_destination_t destination = { 0, recipients, authorities };
    scep_explanation_t *explanation;
    apr_array_header_t *findings;
    gh_result_t result;

    if (scep_explain(&explanation, der, p, &result) == APR_SUCCESS) {
        scep_explain_rules(&findings, explanation, &destination, p);
    }
    require(ERR_peek_error() == 0);
}

static void answer(scep_message_t *message, apr_pool_t *p)
{
    static const gh_bytes_t certificate = { (const unsigned char *)"\x30\x00", 2 };
    scep_reply_t failure = {
        .status = SCEP_FAILURE, .fail_info = SCEP_BAD_REQUEST, .fail_text = "GH0000"
    };
    scep_reply_t success = { .status = SCEP_SUCCESS, .password = "GH0000" };
    apr_array_header_t *certificates = apr_array_make(p, 1, sizeof(gh_bytes_t));
    gh_result_t result;
    gh_bytes_t der;

    /* that nobody has to wait for an answer */
    require(scep_reply_make(&der, &failure, message, &ra, p, &result) == APR_SUCCESS);
    explain(der, p);
    APR_ARRAY_PUSH(certificates, gh_bytes_t) = certificate;
    success.certificates = certificates;
    if (message->signer && message->cipher
        && scep_reply_make(&der, &success, message, &ra, p, &result) == APR_SUCCESS) {
        explain(der, p);
    }
    require(ERR_peek_error() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t der = { data, size };
    const scep_recipient_t *recipient;
    scep_message_t *message;
    gh_result_t result;
    apr_pool_t *p;

    if (!global) {
        initialise();
    }
    apr_pool_create(&p, global);
    gh_result_clear(&result);
    explain(der, p);
    if (scep_message_read(&message, der, SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1, decoding, p, &result)
        == APR_SUCCESS) {
        scep_message_verify(message, &result);
        if (scep_message_admit(message, recipients, authorities, &recipient, &result)
            == APR_SUCCESS) {
            read_content(message, recipient, p);
        }
        answer(message, p);
    }
    /* no message looks like a lack of memory */
    require(result.failure != GH_FAILURE_UNAVAILABLE);
    require(ERR_peek_error() == 0);
    apr_pool_destroy(p);
    return 0;
}
