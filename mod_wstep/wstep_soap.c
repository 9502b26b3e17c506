/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_soap.h"

#include <string.h>

#include <apr_strings.h>

#include "log.h"

#define ANONYMOUS WSTEP_NS_ADDRESSING "/anonymous"
#define ACTION_FAULT WSTEP_NS_ENROLMENT "/RequestSecurityTokenCertificateEnrollmentWSDetailFault"
#define ACTION_ADDRESSING_FAULT WSTEP_NS_ADDRESSING "/soap/fault"

#define ACTION_MAX 512
#define MESSAGE_ID_MAX 512
#define TO_MAX 2048
#define HEADERS_MAX 32

static apr_status_t refuse_envelope(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "soap.envelope",
                          "Send SOAP 1.2.", GHNO(1350) "the message is no SOAP 1.2 envelope: %s",
                          what);
}

/** Whether a header has to be understood (SOAP 1.2 part 1, 5.2.3). */
static int must_be_understood(const xmlNode *header, apr_pool_t *p)
{
    const char *value = wstep_xml_attribute(header, WSTEP_NS_SOAP, "mustUnderstand", p);

    return value && (!strcmp(value, "1") || !strcmp(value, "true"));
}

/** A header with text. @return APR_EINVAL if it is there twice, or too long */
static apr_status_t take_text(const char **value, const xmlNode *header, apr_size_t most,
                              apr_pool_t *p, gh_result_t *result)
{
    const char *text = *value ? NULL : wstep_xml_text(header, p);

    if (!text || !*text || strlen(text) > most) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "soap.header",
                              "Send each header once, with text.",
                              GHNO(1351) "the header %.64s is there twice, or its text is empty "
                                         "or too long", (const char *)header->name);
    }
    *value = text;
    return APR_SUCCESS;
}

static apr_status_t check_reply_to(const xmlNode *header, apr_pool_t *p, gh_result_t *result)
{
    const xmlNode *address = wstep_xml_child(header, WSTEP_NS_ADDRESSING, "Address", NULL);
    const char *text = address ? wstep_xml_text(address, p) : NULL;

    if (!text || strcmp(text, ANONYMOUS) != 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "soap.reply-to",
                              "Have the answer sent back the same way.",
                              GHNO(1352) "an answer to another address than " ANONYMOUS
                                         " is not given");
    }
    return APR_SUCCESS;
}

static apr_status_t take_header(wstep_soap_t *soap, xmlNode *header, apr_pool_t *p,
                                gh_result_t *result)
{
    if (wstep_xml_is(header, WSTEP_NS_ADDRESSING, "Action")) {
        return take_text(&soap->action, header, ACTION_MAX, p, result);
    }
    if (wstep_xml_is(header, WSTEP_NS_ADDRESSING, "MessageID")) {
        return take_text(&soap->message_id, header, MESSAGE_ID_MAX, p, result);
    }
    if (wstep_xml_is(header, WSTEP_NS_ADDRESSING, "To")) {
        return take_text(&soap->to, header, TO_MAX, p, result);
    }
    if (wstep_xml_is(header, WSTEP_NS_ADDRESSING, "ReplyTo")
        || wstep_xml_is(header, WSTEP_NS_ADDRESSING, "FaultTo")) {
        return check_reply_to(header, p, result);
    }
    if (wstep_xml_is(header, WSTEP_NS_WSSE, "Security")) {
        if (soap->security) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "soap.security",
                                  "Send one Security header.",
                                  GHNO(1353) "there are several wsse:Security headers");
        }
        soap->security = header;
        return APR_SUCCESS;
    }
    if (must_be_understood(header, p)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "soap.must-understand",
                              "Leave the header out.",
                              GHNO(1354) "the header %.64s has to be understood, but is not",
                              (const char *)header->name);
    }
    return APR_SUCCESS;
}

static apr_status_t take_headers(wstep_soap_t *soap, const xmlNode *headers, apr_pool_t *p,
                                 gh_result_t *result)
{
    xmlNode *header;
    int count = 0;

    for (header = wstep_xml_element(headers->children); header;
         header = wstep_xml_element(header->next)) {
        apr_status_t rv = ++count > HEADERS_MAX
            ? refuse_envelope(result, "it has too many headers")
            : take_header(soap, header, p, result);

        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t take_body(wstep_soap_t *soap, const xmlNode *body, gh_result_t *result)
{
    soap->payload = wstep_xml_element(body->children);
    if (!soap->payload || wstep_xml_element(soap->payload->next)) {
        return refuse_envelope(result, "its body has not exactly one element");
    }
    return APR_SUCCESS;
}

apr_status_t wstep_soap_read(wstep_soap_t *soap, gh_bytes_t text, apr_pool_t *p,
                             gh_result_t *result)
{
    xmlNode *root, *first, *body;
    apr_status_t rv;

    memset(soap, 0, sizeof(*soap));
    rv = wstep_xml_parse(&soap->document, text, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    root = xmlDocGetRootElement(soap->document);
    if (!wstep_xml_is(root, WSTEP_NS_SOAP, "Envelope")) {
        return refuse_envelope(result, "its root is another element, or of another version");
    }
    first = wstep_xml_element(root->children);
    if (wstep_xml_is(first, WSTEP_NS_SOAP, "Header")) {
        rv = take_headers(soap, first, p, result);
        body = wstep_xml_element(first->next);
    }
    else {
        body = first;
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!wstep_xml_is(body, WSTEP_NS_SOAP, "Body") || wstep_xml_element(body->next)) {
        return refuse_envelope(result, "it has not one header and one body");
    }
    if (!soap->action) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "soap.action",
                              "Send WS-Addressing headers.",
                              GHNO(1355) "the header Action of WS-Addressing is missing");
    }
    return take_body(soap, body, result);
}

/* Answers */

/** wsse:Security with a Timestamp alone, as Windows servers send it. */
static void write_security(wstep_writer_t *writer, apr_time_t now, apr_pool_t *p)
{
    wstep_write_open(writer, "o:Security", WSTEP_NS_WSSE);
    wstep_write_attribute(writer, "s:mustUnderstand", "1");
    wstep_write_open(writer, "u:Timestamp", WSTEP_NS_WSU);
    wstep_write_attribute(writer, "u:Id", "_0");
    wstep_write_element(writer, "u:Created", gh_time_text(p, now));
    wstep_write_element(writer, "u:Expires", gh_time_text(p, now + apr_time_from_sec(300)));
    wstep_write_close(writer);
    wstep_write_close(writer);
}

wstep_writer_t *wstep_soap_begin(const char *action, const char *relates_to, apr_time_t now,
                                 apr_pool_t *p)
{
    wstep_writer_t *writer = wstep_writer_create(p);

    if (!writer) {
        return NULL;
    }
    wstep_write_open(writer, "s:Envelope", WSTEP_NS_SOAP);
    wstep_write_namespace(writer, "a", WSTEP_NS_ADDRESSING);
    wstep_write_open(writer, "s:Header", NULL);
    wstep_write_open(writer, "a:Action", NULL);
    wstep_write_attribute(writer, "s:mustUnderstand", "1");
    wstep_write_text(writer, action);
    wstep_write_close(writer);
    if (relates_to) {
        wstep_write_element(writer, "a:RelatesTo", relates_to);
    }
    if (now) {
        write_security(writer, now, p);
    }
    wstep_write_close(writer);
    wstep_write_open(writer, "s:Body", NULL);
    wstep_write_namespace(writer, "xsi", WSTEP_NS_XSI);
    return writer;
}

apr_status_t wstep_soap_end(wstep_writer_t *writer, gh_bytes_t *xml, apr_pool_t *p)
{
    wstep_write_close(writer);
    wstep_write_close(writer);
    return wstep_writer_finish(writer, xml, p);
}

static void write_code(wstep_writer_t *writer, const wstep_fault_t *fault)
{
    wstep_write_open(writer, "s:Code", NULL);
    wstep_write_element(writer, "s:Value",
                        wstep_fault_is_senders(fault->kind) ? "s:Sender" : "s:Receiver");
    if (fault->kind == WSTEP_FAULT_AUTHENTICATION || fault->kind == WSTEP_FAULT_UNSUPPORTED) {
        wstep_write_open(writer, "s:Subcode", NULL);
        wstep_write_open(writer, "s:Value", NULL);
        if (fault->kind == WSTEP_FAULT_AUTHENTICATION) {
            wstep_write_namespace(writer, "o", WSTEP_NS_WSSE);
            wstep_write_text(writer, "o:FailedAuthentication");
        }
        else {
            wstep_write_text(writer, "a:ActionNotSupported");
        }
        wstep_write_close(writer);
        wstep_write_close(writer);
    }
    wstep_write_close(writer);
}

/** MS-WSTEP 3.1.4.1.3.1. */
static void write_detail(wstep_writer_t *writer, const wstep_fault_t *fault)
{
    wstep_write_open(writer, "s:Detail", NULL);
    wstep_write_open(writer, "CertificateEnrollmentWSDetail", WSTEP_NS_ENROLMENT);
    if (fault->response.length) {
        wstep_write_open(writer, "BinaryResponse", NULL);
        wstep_write_base64(writer, fault->response);
        wstep_write_close(writer);
    }
    else {
        wstep_write_nil(writer, "BinaryResponse", NULL);
    }
    wstep_write_number(writer, "ErrorCode", wstep_fault_hresult(fault->kind));
    wstep_write_boolean(writer, "InvalidRequest", fault->denied);
    wstep_write_element(writer, "RequestID", fault->request_id);
    wstep_write_close(writer);
    wstep_write_close(writer);
}

apr_status_t wstep_soap_fault(gh_bytes_t *xml, const wstep_fault_t *fault, const char *reason,
                              const char *language, const char *relates_to, int policy,
                              apr_pool_t *p)
{
    wstep_writer_t *writer = wstep_soap_begin(policy ? ACTION_ADDRESSING_FAULT : ACTION_FAULT,
                                              relates_to, 0, p);

    if (!writer) {
        return APR_ENOMEM;
    }
    wstep_write_open(writer, "s:Fault", NULL);
    write_code(writer, fault);
    wstep_write_open(writer, "s:Reason", NULL);
    wstep_write_open(writer, "s:Text", NULL);
    wstep_write_attribute(writer, "xml:lang", language);
    wstep_write_text(writer, reason);
    wstep_write_close(writer);
    wstep_write_close(writer);
    if (!policy) {
        write_detail(writer, fault);
    }
    wstep_write_close(writer);
    return wstep_soap_end(writer, xml, p);
}
