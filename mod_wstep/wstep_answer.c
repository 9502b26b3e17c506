/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_answer.h"

#include "mod_wstep/wstep_soap.h"

#define X509_PROFILE \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"

static void write_token(wstep_writer_t *writer, const char *type, gh_bytes_t bytes)
{
    wstep_write_open(writer, "BinarySecurityToken", WSTEP_NS_WSSE);
    wstep_write_attribute(writer, "ValueType", type);
    wstep_write_attribute(writer, "EncodingType", WSTEP_NS_WSSE "#base64binary");
    wstep_write_base64(writer, bytes);
    wstep_write_close(writer);
}

/** The certificate, or where to ask for it. */
static void write_requested(wstep_writer_t *writer, const wstep_answer_t *answer)
{
    wstep_write_open(writer, "RequestedSecurityToken", NULL);
    if (answer->pending) {
        wstep_write_open(writer, "SecurityTokenReference", WSTEP_NS_WSSE);
        wstep_write_open(writer, "Reference", NULL);
        wstep_write_attribute(writer, "URI", answer->reference);
        wstep_write_close(writer);
        wstep_write_close(writer);
    }
    else {
        write_token(writer, X509_PROFILE, answer->certificate);
    }
    wstep_write_close(writer);
}

/** The key exchange certificate comes without a collection (MS-WSTEP 3.1.4.2). */
static void write_key_exchange(wstep_writer_t *writer, const wstep_answer_t *answer)
{
    wstep_write_open(writer, "RequestSecurityTokenResponse", WSTEP_NS_TRUST);
    wstep_write_open(writer, "RequestedSecurityToken", NULL);
    write_token(writer, X509_PROFILE, answer->certificate);
    wstep_write_close(writer);
    wstep_write_close(writer);
}

static void write_response(wstep_writer_t *writer, const wstep_answer_t *answer)
{
    wstep_write_open(writer, "RequestSecurityTokenResponseCollection", WSTEP_NS_TRUST);
    wstep_write_open(writer, "RequestSecurityTokenResponse", NULL);
    wstep_write_element(writer, "TokenType", X509_PROFILE);
    wstep_write_open(writer, "DispositionMessage", WSTEP_NS_ENROLMENT);
    wstep_write_attribute(writer, "xml:lang", answer->language ? answer->language : "en-US");
    wstep_write_text(writer, answer->message);
    wstep_write_close(writer);
    if (answer->response.length) {
        write_token(writer, WSTEP_NS_WSSE "#PKCS7", answer->response);
    }
    write_requested(writer, answer);
    wstep_write_open(writer, "RequestID", WSTEP_NS_ENROLMENT);
    if (answer->request_id) {
        wstep_write_text(writer, answer->request_id);
    }
    else {
        wstep_write_attribute(writer, "xsi:nil", "true");
    }
    wstep_write_close(writer);
    wstep_write_close(writer);
    wstep_write_close(writer);
}

apr_status_t wstep_answer_write(gh_bytes_t *xml, const wstep_answer_t *answer,
                                const char *relates_to, apr_time_t now, apr_pool_t *p)
{
    wstep_writer_t *writer = wstep_soap_begin(answer->key_exchange ? WSTEP_ACTION_KET_FINAL
                                                                   : WSTEP_ACTION_RSTRC,
                                              relates_to, now, p);

    if (!writer) {
        return APR_ENOMEM;
    }
    if (answer->key_exchange) {
        write_key_exchange(writer, answer);
    }
    else {
        write_response(writer, answer);
    }
    return wstep_soap_end(writer, xml, p);
}
