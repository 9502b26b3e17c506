/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_request.h"

#include <string.h>

#include <apr_strings.h>

#include "log.h"

#define TOKEN_X509 \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"
#define TOKEN_DEVICE \
    "http://schemas.microsoft.com/5.0.0.0/ConfigurationManager/Enrollment/DeviceEnrollmentToken"

#define TYPE_ISSUE WSTEP_NS_TRUST "/Issue"
#define TYPE_RENEW WSTEP_NS_TRUST "/Renew"
#define TYPE_KET WSTEP_NS_TRUST "/KET"
#define TYPE_QUERY WSTEP_NS_ENROLMENT "/QueryTokenStatus"

#define ITEM_NAME_MAX 128
#define ITEM_VALUE_MAX 4096
#define REQUEST_ID_MAX 20
#define LANGUAGE_MAX 32

static apr_status_t refuse(wstep_fault_kind_t *kind, gh_result_t *result, const char *what)
{
    *kind = WSTEP_FAULT_MALFORMED;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "wstep.request",
                          "Send RequestSecurityToken as MS-WSTEP says.",
                          GHNO(1362) "the request cannot be read: %s", what);
}

static apr_status_t refuse_devices(wstep_fault_kind_t *kind, gh_result_t *result)
{
    *kind = WSTEP_FAULT_UNSUPPORTED;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "wstep.device-management",
                          "Enrol devices with the device management that manages them.",
                          GHNO(1363) "this is enrolment for device management (MS-MDE2), which is "
                                     "not served here");
}

/** Text of the one child of that name; NULL if it is not there. */
static const char *text_of(const xmlNode *parent, const char *uri, const char *name,
                           apr_pool_t *p)
{
    const xmlNode *node = wstep_xml_child(parent, uri, name, NULL);

    return node ? wstep_xml_text(node, p) : NULL;
}

static apr_status_t read_operation(wstep_request_t *request, const wstep_soap_t *soap,
                                   wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    const char *type = text_of(soap->payload, WSTEP_NS_TRUST, "RequestType", p);
    const char *token = text_of(soap->payload, WSTEP_NS_TRUST, "TokenType", p);
    const char *action = WSTEP_ACTION_RST;

    if (!type) {
        return refuse(kind, result, "it has not one RequestType");
    }
    if (!strcmp(type, TYPE_RENEW) || (token && !strcmp(token, TOKEN_DEVICE))) {
        return refuse_devices(kind, result);
    }
    if (!strcmp(type, TYPE_ISSUE)) {
        request->operation = WSTEP_ISSUE;
    }
    else if (!strcmp(type, TYPE_QUERY)) {
        request->operation = WSTEP_QUERY;
    }
    else if (!strcmp(type, TYPE_KET)) {
        request->operation = WSTEP_KET;
        action = WSTEP_ACTION_KET;
    }
    else {
        *kind = WSTEP_FAULT_UNSUPPORTED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "wstep.type",
                              "Ask for Issue, QueryTokenStatus or KET.",
                              GHNO(1364) "the RequestType %.200s is not known", type);
    }
    if (strcmp(soap->action, action) != 0) {
        *kind = WSTEP_FAULT_UNSUPPORTED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "wstep.action",
                              "Send the Action that goes with the RequestType.",
                              GHNO(1365) "the Action %.200s is not known here, or not with this "
                                         "RequestType", soap->action);
    }
    if (!token || strcmp(token, TOKEN_X509) != 0) {
        return refuse(kind, result, "its TokenType is not X509v3");
    }
    return APR_SUCCESS;
}

static int base64_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+'
           || c == '/' || c == '=';
}

/** Windows breaks lines, and writes their ends as &#xD; too. */
static apr_status_t decode_token(gh_bytes_t *token, const char *text, apr_pool_t *p)
{
    char *digits = apr_palloc(p, strlen(text) + 1);
    char *end = digits;

    for (; *text; ++text) {
        if (base64_digit(*text)) {
            *end++ = *text;
        }
        else if (!strchr(" \t\r\n", *text)) {
            return APR_EINVAL;
        }
    }
    *end = '\0';
    *token = gh_base64_decode(digits, p);
    return token->length && token->length <= WSTEP_TOKEN_MAX ? APR_SUCCESS : APR_EINVAL;
}

static apr_status_t read_token(wstep_request_t *request, const wstep_soap_t *soap,
                               wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    int count;
    const xmlNode *node = wstep_xml_child(soap->payload, WSTEP_NS_WSSE, "BinarySecurityToken",
                                          &count);
    const char *text = node ? wstep_xml_text(node, p) : NULL;

    if (request->operation != WSTEP_ISSUE) {
        return APR_SUCCESS;
    }
    if (!text || decode_token(&request->token, text, p) != APR_SUCCESS) {
        *kind = count ? WSTEP_FAULT_BAD_REQUEST : WSTEP_FAULT_MALFORMED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "wstep.token",
                              "Send one BinarySecurityToken with the request in base64.",
                              GHNO(1366) "the request's BinarySecurityToken is missing, there "
                                         "twice, no base64, or longer than %d bytes",
                              WSTEP_TOKEN_MAX);
    }
    request->value_type = wstep_xml_attribute(node, NULL, "ValueType", p);
    return APR_SUCCESS;
}

static apr_status_t read_items(wstep_request_t *request, const wstep_soap_t *soap,
                               wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    int count;
    const xmlNode *context = wstep_xml_child(soap->payload, WSTEP_NS_AUTHORIZATION,
                                             "AdditionalContext", &count);
    xmlNode *node;

    request->items = apr_array_make(p, 4, sizeof(wstep_item_t));
    if (count > 1) {
        return refuse(kind, result, "it has several AdditionalContext");
    }
    for (node = context ? wstep_xml_element(context->children) : NULL; node;
         node = wstep_xml_element(node->next)) {
        wstep_item_t item;

        if (!wstep_xml_is(node, WSTEP_NS_AUTHORIZATION, "ContextItem")) {
            continue;
        }
        item.name = wstep_xml_attribute(node, NULL, "Name", p);
        item.value = text_of(node, WSTEP_NS_AUTHORIZATION, "Value", p);
        if (request->items->nelts == WSTEP_ITEMS_MAX || !item.name || !*item.name || !item.value
            || strlen(item.name) > ITEM_NAME_MAX || strlen(item.value) > ITEM_VALUE_MAX) {
            return refuse(kind, result, "it has a ContextItem that is none, or too many of them");
        }
        APR_ARRAY_PUSH(request->items, wstep_item_t) = item;
    }
    return APR_SUCCESS;
}

/** Of Issue it means nothing (MS-WSTEP 3.1.4.1.3.3). */
static apr_status_t read_request_id(wstep_request_t *request, const wstep_soap_t *soap,
                                    wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    const xmlNode *node = wstep_xml_child(soap->payload, WSTEP_NS_ENROLMENT, "RequestID", NULL);
    const char *text = node && !wstep_xml_nil(node) ? wstep_xml_text(node, p) : NULL;

    if (request->operation != WSTEP_QUERY) {
        return APR_SUCCESS;
    }
    if (!text || !*text || strlen(text) > REQUEST_ID_MAX
        || strspn(text, "0123456789") != strlen(text)) {
        *kind = WSTEP_FAULT_MALFORMED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "wstep.request-id",
                              "Send the RequestID of the answer that was pending.",
                              GHNO(1367) "QueryTokenStatus has no RequestID, or one that is no "
                                         "number");
    }
    request->request_id = text;
    return APR_SUCCESS;
}

/** MS-WSTEP spells the attribute with two f; its schema differs. */
static void read_language(wstep_request_t *request, const xmlNode *node, apr_pool_t *p)
{
    static const char *const names[] = { "PreferredLanguage", "PrefferedLanguage" };
    apr_size_t i;

    for (i = 0; i < 2 && !request->language; ++i) {
        request->language = wstep_xml_attribute(node, WSTEP_NS_ENROLMENT, names[i], p);
        if (!request->language) {
            request->language = wstep_xml_attribute(node, NULL, names[i], p);
        }
    }
    if (request->language && strlen(request->language) > LANGUAGE_MAX) {
        request->language = NULL;
    }
}

apr_status_t wstep_request_read(wstep_request_t *request, const wstep_soap_t *soap,
                                wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv;

    memset(request, 0, sizeof(*request));
    *kind = WSTEP_FAULT_NONE;
    if (!wstep_xml_is(soap->payload, WSTEP_NS_TRUST, "RequestSecurityToken")) {
        *kind = WSTEP_FAULT_UNSUPPORTED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "wstep.body",
                              "Send RequestSecurityToken of WS-Trust 1.3.",
                              GHNO(1368) "the body has %.64s, which is not served here",
                              (const char *)soap->payload->name);
    }
    read_language(request, soap->payload, p);
    if ((rv = read_operation(request, soap, kind, p, result)) != APR_SUCCESS
        || (rv = read_token(request, soap, kind, p, result)) != APR_SUCCESS
        || (rv = read_items(request, soap, kind, p, result)) != APR_SUCCESS
        || (rv = read_request_id(request, soap, kind, p, result)) != APR_SUCCESS) {
        return rv;
    }
    if (request->operation == WSTEP_KET
        && !wstep_xml_child(soap->payload, WSTEP_NS_TRUST, "RequestKET", NULL)) {
        return refuse(kind, result, "KET has not one RequestKET");
    }
    return APR_SUCCESS;
}

const char *wstep_request_item(const wstep_request_t *request, const char *name)
{
    const char *value = NULL;
    int i, count = 0;

    for (i = 0; i < request->items->nelts; ++i) {
        const wstep_item_t *item = &APR_ARRAY_IDX(request->items, i, wstep_item_t);

        if (!strcasecmp(item->name, name)) {
            value = item->value;
            ++count;
        }
    }
    return count == 1 ? value : NULL;
}
