/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* scep explain: the object as text for people. */

#include "ctl_scep.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_output.h"
#include "ctl_text.h"

typedef struct {
    FILE *file;
    apr_pool_t *p;
} page_t;

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static int integer_of(const json_t *object, const char *name)
{
    return (int)json_integer_value(json_object_get(object, name));
}

static int is_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static void field(const page_t *page, const char *label, const char *text)
{
    ctl_field_print(page->file, label, text, page->p);
}

static void member(const page_t *page, const char *label, const json_t *object, const char *name)
{
    field(page, label, text_of(object, name));
}

/* The texts of an array with commas between; NULL if there are none. */
static const char *joined(const json_t *array, apr_pool_t *p)
{
    const char *all = NULL;
    json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        const char *text = json_string_value(element);

        if (text != NULL) {
            all = all == NULL ? text : apr_pstrcat(p, all, ", ", text, NULL);
        }
    }
    return all;
}

/* "19 PKCSReq" */
static void numbered(const page_t *page, const char *label, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_object(value)) {
        field(page, label, apr_psprintf(page->p, "%d %s", integer_of(value, "number"),
                                        text_of(value, "name")));
    }
}

/* "sha256 (2.16.840.1.101.3.4.2.1)" */
static const char *algorithm(const json_t *value, apr_pool_t *p)
{
    return json_is_object(value)
        ? apr_psprintf(p, "%s (%s)", text_of(value, "name"), text_of(value, "oid")) : NULL;
}

/* "RA of issuer devices, generation 2, usable" */
static const char *known(const json_t *value, apr_pool_t *p)
{
    const char *role = text_of(value, "role");

    if (role == NULL) {
        return NULL;
    }
    if (strcmp(role, "RA") == 0) {
        return apr_psprintf(p, "RA of issuer %s, generation %d, %s", text_of(value, "issuer"),
                            integer_of(value, "generation"), text_of(value, "state"));
    }
    return apr_psprintf(p, "%s issuer %s", strcmp(role, "CA") == 0 ? "CA of" : "above the CA of",
                        text_of(value, "issuer"));
}

static void print_certificate(const page_t *page, const char *label, const json_t *object)
{
    const char *subject = text_of(object, "subject");
    const char *begin = text_of(object, "not_before");
    const char *end = text_of(object, "not_after");
    apr_time_t ended = 0;

    field(page, label, subject == NULL ? "its certificate is not enclosed"
                       : *subject != '\0' ? subject : "(empty subject)");
    field(page, "  issued by", is_true(object, "self_signed") ? "itself"
                               : text_of(object, "issuer"));
    member(page, "  serial", object, "serial");
    member(page, "  key id", object, "key_id");
    member(page, "  key", object, "key");
    field(page, "  key usage", joined(json_object_get(object, "key_usage"), page->p));
    if (begin != NULL && end != NULL) {
        gh_time_parse(&ended, end);
        field(page, "  valid", apr_psprintf(page->p, "%s to %s%s", begin, end,
                                            ended < apr_time_now() ? ", expired" : ""));
    }
    field(page, "  is", known(json_object_get(object, "known"), page->p));
}

static void print_signature(const page_t *page, const json_t *object)
{
    const json_t *valid = json_object_get(object, "valid");
    const char *problem = text_of(object, "problem");

    field(page, "digest", algorithm(json_object_get(object, "digest"), page->p));
    field(page, "signed with", algorithm(json_object_get(object, "algorithm"), page->p));
    field(page, "signature", apr_psprintf(page->p, "%s%s%s",
                                          json_is_true(valid) ? "valid"
                                          : json_is_false(valid) ? "NOT valid" : "not examined",
                                          problem != NULL ? ": " : "",
                                          problem != NULL ? problem : ""));
}

static void print_recipient(const page_t *page, const json_t *object)
{
    const json_t *oaep = json_object_get(object, "oaep");
    const char *serial = text_of(object, "serial");
    const char *key_id = text_of(object, "key_id");
    const char *transport = algorithm(json_object_get(object, "transport"), page->p);

    field(page, "recipient",
          serial != NULL ? apr_psprintf(page->p, "serial %s of %s", serial,
                                        text_of(object, "issuer"))
          : key_id != NULL ? apr_pstrcat(page->p, "key id ", key_id, NULL)
          : apr_pstrcat(page->p, "by ", text_of(object, "type"), NULL));
    field(page, "  is", known(json_object_get(object, "known"), page->p));
    if (transport != NULL) {
        field(page, "  transport", apr_pstrcat(page->p, transport, is_true(object, "accepted")
                                               ? "" : ", not accepted", NULL));
    }
    if (json_is_object(oaep)) {
        field(page, "  OAEP", apr_psprintf(page->p, "%s, %s with %s, label of %d bytes",
                                           text_of(oaep, "digest"), text_of(oaep, "mask"),
                                           text_of(oaep, "mask_digest"),
                                           integer_of(oaep, "label_bytes")));
    }
}

/* "contentType 11, messageDigest 34": names and sizes */
static void print_attributes(const page_t *page, const char *label, const json_t *array)
{
    const char *all = NULL;
    json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        const char *text = apr_psprintf(page->p, "%s (%d bytes%s%s)", text_of(element, "name"),
                                        integer_of(element, "bytes"),
                                        integer_of(element, "values") != 1 ? ", not one value" : "",
                                        is_true(element, "critical") ? ", critical" : "");

        all = all == NULL ? text : apr_pstrcat(page->p, all, ", ", text, NULL);
    }
    field(page, label, all);
}

static void print_message(const page_t *page, const json_t *object)
{
    const json_t *recipients = json_object_get(object, "recipients");
    const char *cipher = algorithm(json_object_get(object, "cipher"), page->p);
    json_t *element;
    size_t i;

    numbered(page, "messageType", object, "message_type");
    member(page, "transactionID", object, "transaction");
    member(page, "senderNonce", object, "sender_nonce");
    member(page, "recipientNonce", object, "recipient_nonce");
    numbered(page, "pkiStatus", object, "pki_status");
    numbered(page, "failInfo", object, "fail_info");
    member(page, "failInfoText", object, "fail_text");
    member(page, "signingTime", object, "signing_time");
    print_attributes(page, "attributes", json_object_get(object, "attributes"));
    if (json_is_object(json_object_get(object, "signer"))) {
        print_certificate(page, "signer", json_object_get(object, "signer"));
    }
    print_signature(page, json_object_get(object, "signature"));
    if (cipher != NULL) {
        field(page, "cipher", apr_psprintf(page->p, "%s, %d bytes", cipher,
                                           integer_of(object, "encrypted_bytes")));
    }
    json_array_foreach(recipients, i, element) {
        print_recipient(page, element);
    }
}

static void print_csr(const page_t *page, const json_t *csr)
{
    const json_t *challenge = json_object_get(csr, "challenge_bytes");
    const char *subject = text_of(csr, "subject");

    field(page, "subject", subject != NULL && *subject != '\0' ? subject : "(empty)");
    field(page, "names", joined(json_object_get(csr, "sans"), page->p));
    member(page, "key", csr, "key");
    member(page, "signed with", csr, "signature_algorithm");
    field(page, "signature", is_true(csr, "signature_valid") ? "valid" : "NOT valid");
    field(page, "challenge", json_is_integer(challenge)
          ? apr_psprintf(page->p, "present, %d bytes", integer_of(csr, "challenge_bytes"))
          : "none");
    member(page, "key usage", csr, "key_usage");
    member(page, "ext. key usage", csr, "extended_key_usage");
    member(page, "constraints", csr, "basic_constraints");
    print_attributes(page, "extensions", json_object_get(csr, "extensions"));
    print_attributes(page, "attributes", json_object_get(csr, "attributes"));
}

/* Judgements */

static const char *where(const json_t *judgement, apr_pool_t *p)
{
    const char *locations = joined(json_object_get(judgement, "locations"), p);
    const char *allow = joined(json_object_get(judgement, "allow"), p);

    return apr_psprintf(p, "%s %s%s", locations != NULL ? locations : "a location",
                        allow != NULL ? "with SCEPAllow " : "without SCEPAllow",
                        allow != NULL ? allow : "");
}

static void print_judgement(const page_t *page, const json_t *judgement)
{
    const char *verdict = text_of(judgement, "verdict");
    const char *kept = NULL;
    const char *unknown = NULL;
    json_t *rule;
    size_t i;

    fprintf(page->file, "\nAt %s: %s%s\n", ctl_text_printable(where(judgement, page->p), page->p),
            strcmp(verdict, "unknown") == 0 ? "not all is known" : verdict,
            strcmp(verdict, "accepted") == 0 ? ", as far as it shows" : "");
    json_array_foreach(json_object_get(judgement, "rules"), i, rule) {
        const char *name = text_of(rule, "rule");
        const char *said = text_of(rule, "verdict");
        const char **list = strcmp(said, "kept") == 0 ? &kept : &unknown;

        if (strcmp(said, "broken") == 0) {
            field(page, "  broken", apr_psprintf(page->p, "%s: %s: %s", name, text_of(rule, "gh"),
                                                 text_of(rule, "message")));
            member(page, "  to do", rule, "action");
            continue;
        }
        *list = *list == NULL ? name : apr_pstrcat(page->p, *list, ", ", name, NULL);
    }
    field(page, "  not known", unknown);
    field(page, "  kept", kept);
}

/* What the rules cannot tell, since it takes a key or the server's memory. */
static void print_limits(const page_t *page, const json_t *object)
{
    const char *kind = text_of(object, "kind");

    if (strcmp(kind, "request") == 0) {
        fputs("\nThe envelope was not opened: request, challenge and profile are decided on inside "
              "it.\nThe audit log says what the server has decided.\n", page->file);
    }
    else if (strcmp(kind, "csr") == 0) {
        fputs("\nChallenge and profile are decided on by the server.\n", page->file);
    }
}

void ctl_scep_print(FILE *file, const json_t *object, apr_pool_t *p)
{
    static const struct {
        const char *kind;
        const char *text;
    } kinds[] = {
        { "request", "request: pkiMessage of a client" }, { "reply", "reply: CertRep of a server" },
        { "certificates", "certificates: answer to GetCACert" },
        { "next certificates", "certificates: answer to GetNextCACert" },
        { "csr", "PKCS#10 request for a certificate, in no message" }
    };
    const page_t page = { file, p };
    const json_t *certificates = json_object_get(object, "certificates");
    const json_t *csr = json_object_get(object, "csr");
    int message = json_object_get(object, "signature") != NULL;
    json_t *element;
    size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].kind, text_of(object, "kind")) == 0) {
            field(&page, "kind", kinds[i].text);
        }
    }
    field(&page, "form", apr_psprintf(p, "%s, %d bytes", text_of(object, "form"),
                                      integer_of(object, "bytes")));
    member(&page, "location", object, "location");
    if (message) {
        print_message(&page, object);
    }
    if (json_is_object(csr)) {
        print_csr(&page, csr);
    }
    /* that of the signer was shown */
    if (!message || strcmp(text_of(object, "kind"), "next certificates") == 0
        || json_array_size(certificates) > 1) {
        json_array_foreach(certificates, i, element) {
            print_certificate(&page, message ? "enclosed" : "certificate", element);
        }
    }
    member(&page, "note", object, "note");
    json_array_foreach(json_object_get(object, "judgements"), i, element) {
        print_judgement(&page, element);
    }
    print_limits(&page, object);
}
