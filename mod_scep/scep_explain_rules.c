/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The rules of scep_message_verify() and scep_message_admit(), one after the other. They stop at
 * the first that is broken, so they are applied again to a copy of what was read, in which that one
 * is kept, until they find no more or it cannot be passed over.
 */

#include "mod_scep/scep_explain.h"

#include <string.h>

#include <openssl/err.h>

#include "mod_scep/scep_asn1.h"
#include "x509/key.h"

typedef struct {
    scep_message_t copy;
    const scep_explanation_t *explanation;
    scep_destination_t destination;
    apr_array_header_t *findings;
    apr_pool_t *p;
} rules_t;

typedef struct {
    const char *rule;
    int (*pass)(rules_t *rules);    /* makes it kept; returns 0 if it cannot. NULL: never */
} rule_t;

typedef apr_status_t step_fn(rules_t *rules, gh_result_t *result);

static int pass_transaction(rules_t *rules)
{
    rules->copy.transaction = "-";
    return 1;
}

static int pass_nonce(rules_t *rules)
{
    rules->copy.sender_nonce.length = 1;
    return 1;
}

static int pass_key(rules_t *rules)
{
    if (!rules->copy.signer_key || !rules->copy.signer_sha256.data) {
        return 0;
    }
    rules->copy.signer_kind = "-";
    return 1;
}

static int pass_digest(rules_t *rules)
{
    rules->copy.digest = EVP_sha256();
    return 1;
}

static int pass_cipher(rules_t *rules)
{
    rules->copy.cipher = EVP_aes_128_cbc();
    return 1;
}

static int pass_recipient_type(rules_t *rules)
{
    rules->copy.other_recipients = 0;
    return 1;
}

/** A certificate that a recipient may be for: the names are all that is compared. */
static X509 *stand_in(const scep_explained_recipient_t *recipient, apr_pool_t *p)
{
    ASN1_OCTET_STRING *key_id = NULL;
    ASN1_INTEGER *serial = NULL;
    X509_NAME *issuer = NULL;
    X509 *certificate;

    if (CMS_RecipientInfo_type(recipient->info) != CMS_RECIPINFO_TRANS
        || !CMS_RecipientInfo_ktri_get0_signer_id(recipient->info, &key_id, &issuer, &serial)
        || !issuer || !serial) {
        return NULL;
    }
    certificate = gh_own_certificate(p, X509_new());
    if (!certificate || !X509_set_issuer_name(certificate, issuer)
        || !X509_set_serialNumber(certificate, serial)) {
        return NULL;
    }
    return certificate;
}

/** As if the message were for this server: what comes behind can still be told. */
static int pass_recipient(rules_t *rules)
{
    const apr_array_header_t *named = rules->explanation->recipients;
    apr_array_header_t *recipients = apr_array_make(rules->p, 1, sizeof(scep_recipient_t));
    apr_array_header_t *authorities = apr_array_make(rules->p, 2, sizeof(X509 *));
    int i;

    for (i = 0; i < named->nelts; ++i) {
        X509 *one = stand_in(&APR_ARRAY_IDX(named, i, scep_explained_recipient_t), rules->p);

        if (!one) {
            return 0;
        }
        if (i == 0) {
            APR_ARRAY_PUSH(recipients, scep_recipient_t) = (scep_recipient_t){ one, NULL };
        }
        else {
            APR_ARRAY_PUSH(authorities, X509 *) = one;
        }
    }
    rules->destination.recipients = recipients;
    rules->destination.authorities = authorities;
    return 1;
}

static const rule_t type_rules[] = {
    { "message.no-type", NULL },
    { "message.unknown-type", NULL },
    { NULL, NULL }
};

static const rule_t verify_rules[] = {
    { "message.signers", NULL },
    { "message.transaction", pass_transaction },
    { "message.nonce", pass_nonce },
    { "message.signer", NULL },
    { "message.key", pass_key },
    { "message.key-transport", NULL },
    { "message.digest", pass_digest },
    { "message.content", NULL },
    { "message.signature", NULL },
    { NULL, NULL }
};

static const rule_t admit_rules[] = {
    { "message.envelope-type", NULL },
    { "message.envelope", NULL },
    { "message.cipher", pass_cipher },
    { "message.recipient-type", pass_recipient_type },
    { SCEP_RULE_RECIPIENT, pass_recipient },
    { "message.transport", NULL },
    { NULL, NULL }
};

static const rule_t csr_rules[] = {
    { "csr.key", NULL },
    { "csr.digest", NULL },
    { "csr.signature", NULL },
    { NULL, NULL }
};

static apr_status_t check_type(rules_t *rules, gh_result_t *result)
{
    switch (rules->copy.type) {
    case SCEP_RENEWAL_REQ:
    case SCEP_PKCS_REQ:
    case SCEP_CERT_POLL:
    case SCEP_GET_CERT:
    case SCEP_GET_CRL:
        return APR_SUCCESS;
    default:
        return scep_message_refuse_type(&rules->copy, result);
    }
}

static apr_status_t verify(rules_t *rules, gh_result_t *result)
{
    return scep_message_verify(&rules->copy, result);
}

static apr_status_t admit(rules_t *rules, gh_result_t *result)
{
    const apr_array_header_t *none = apr_array_make(rules->p, 1, sizeof(scep_recipient_t));
    const scep_destination_t *destination = &rules->destination;
    const scep_recipient_t *recipient;

    return scep_message_admit(&rules->copy,
                              destination->recipients ? destination->recipients : none,
                              destination->authorities ? destination->authorities : none,
                              &recipient, result);
}

static apr_status_t verify_csr(rules_t *rules, gh_result_t *result)
{
    return gh_csr_verify(rules->explanation->csr, (rules->destination.allow & SCEP_ALLOW_SHA1) != 0,
                         result);
}

static void add(rules_t *rules, const char *rule, scep_verdict_t verdict, const gh_result_t *result)
{
    scep_finding_t *finding = &APR_ARRAY_PUSH(rules->findings, scep_finding_t);

    memset(finding, 0, sizeof(*finding));
    finding->rule = rule;
    finding->verdict = verdict;
    if (result) {
        finding->result = *result;
    }
}

/** The findings for all rules of a table, in its order. */
static void apply(rules_t *rules, const rule_t *table, step_fn *step)
{
    const rule_t *next = table;

    while (next->rule) {
        const rule_t *at = next;
        gh_result_t result;
        int unknown;

        gh_result_clear(&result);
        if (step(rules, &result) == APR_SUCCESS) {
            for (; next->rule; ++next) {
                add(rules, next->rule, SCEP_RULE_KEPT, NULL);
            }
            return;
        }
        while (at->rule && strcmp(at->rule, result.rule ? result.rule : "") != 0) {
            ++at;
        }
        if (!at->rule) {
            add(rules, result.rule ? result.rule : "-", SCEP_RULE_BROKEN, &result);
            break;
        }
        for (; next < at; ++next) {
            add(rules, next->rule, SCEP_RULE_KEPT, NULL);
        }
        unknown = strcmp(at->rule, SCEP_RULE_RECIPIENT) == 0 && !rules->destination.recipients;
        add(rules, at->rule, unknown ? SCEP_RULE_UNKNOWN : SCEP_RULE_BROKEN, &result);
        ++next;
        if (!at->pass || !at->pass(rules)) {
            break;
        }
    }
    for (; next->rule; ++next) {
        add(rules, next->rule, SCEP_RULE_UNKNOWN, NULL);
    }
}

scep_verdict_t scep_explain_rules(apr_array_header_t **findings,
                                  const scep_explanation_t *explanation,
                                  const scep_destination_t *destination, apr_pool_t *p)
{
    rules_t rules;
    scep_verdict_t worst = SCEP_RULE_KEPT;
    scep_message_t *message;
    int i;

    memset(&rules, 0, sizeof(rules));
    rules.explanation = explanation;
    rules.destination = *destination;
    rules.p = p;
    rules.findings = apr_array_make(p, 16, sizeof(scep_finding_t));
    if (explanation->what == SCEP_EXPLAINED_REQUEST
        && scep_message_read(&message, explanation->der, destination->allow, NULL, p, NULL)
               == APR_SUCCESS) {
        rules.copy = *message;
        apply(&rules, type_rules, check_type);
        apply(&rules, verify_rules, verify);
        apply(&rules, admit_rules, admit);
    }
    else if (explanation->what == SCEP_EXPLAINED_CSR) {
        apply(&rules, csr_rules, verify_csr);
    }
    for (i = 0; i < rules.findings->nelts; ++i) {
        scep_verdict_t verdict = APR_ARRAY_IDX(rules.findings, i, scep_finding_t).verdict;
        if (verdict == SCEP_RULE_BROKEN || worst == SCEP_RULE_KEPT) {
            worst = verdict;
        }
    }
    ERR_clear_error();
    *findings = rules.findings;
    return worst;
}
