/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/xcep_request.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mod_wstep/wstep_security.h"

static apr_status_t refuse(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xcep.request",
                          "Send GetPolicies as MS-XCEP says.",
                          GHNO(1369) "GetPolicies cannot be read: %s", what);
}

/** The text of a child; NULL if it is not there or nil. @return 0 if it cannot be read */
static int take_text(const char **text, const xmlNode *parent, const char *name, apr_pool_t *p)
{
    int count;
    const xmlNode *node = wstep_xml_child(parent, WSTEP_NS_POLICY, name, &count);

    *text = NULL;
    if (count > 1) {
        return 0;
    }
    if (node && !wstep_xml_nil(node)) {
        *text = wstep_xml_text(node, p);
        return *text != NULL;
    }
    return 1;
}

/** A client that has nothing says so by a time before all others: 0001-01-01T00:00:00. */
static int take_time(apr_time_t *time, const char *text)
{
    *time = 0;
    if (!text || (strlen(text) > 4 && text[4] == '-' && strncmp(text, "1970", 4) < 0)) {
        return 1;
    }
    return wstep_time_parse(time, text) == APR_SUCCESS;
}

static int take_version(int *version, const xmlNode *filter, const char *name, apr_pool_t *p)
{
    const char *text;
    char *end;
    long number;

    *version = -1;
    if (!take_text(&text, filter, name, p)) {
        return 0;
    }
    if (!text) {
        return 1;
    }
    number = strtol(text, &end, 10);
    *version = (int)number;
    return *text && !*end && number >= 0 && number <= 1000000;
}

static apr_status_t take_oids(xcep_request_t *request, const xmlNode *filter, apr_pool_t *p,
                              gh_result_t *result)
{
    int count;
    const xmlNode *list = wstep_xml_child(filter, WSTEP_NS_POLICY, "policyOIDs", &count);
    xmlNode *node;

    if (count > 1) {
        return refuse(result, "there are several policyOIDs");
    }
    if (!list || wstep_xml_nil(list)) {
        return APR_SUCCESS;
    }
    request->oids = apr_array_make(p, 8, sizeof(const char *));
    for (node = wstep_xml_element(list->children); node; node = wstep_xml_element(node->next)) {
        const char *oid = wstep_xml_text(node, p);

        if (!wstep_xml_is(node, WSTEP_NS_POLICY, "oid") || !oid
            || request->oids->nelts == XCEP_FILTER_OIDS_MAX) {
            return refuse(result, "policyOIDs has something else than OIDs, or too many");
        }
        APR_ARRAY_PUSH(request->oids, const char *) = oid;
    }
    return APR_SUCCESS;
}

static apr_status_t read_filter(xcep_request_t *request, const xmlNode *payload, apr_pool_t *p,
                                gh_result_t *result)
{
    int count;
    const xmlNode *filter = wstep_xml_child(payload, WSTEP_NS_POLICY, "requestFilter", &count);

    if (count > 1) {
        return refuse(result, "there are several requestFilter");
    }
    if (!filter || wstep_xml_nil(filter)) {
        return APR_SUCCESS;
    }
    if (!take_version(&request->client_version, filter, "clientVersion", p)
        || !take_version(&request->server_version, filter, "serverVersion", p)) {
        return refuse(result, "clientVersion or serverVersion is no number");
    }
    return take_oids(request, filter, p, result);
}

apr_status_t xcep_request_read(xcep_request_t *request, const wstep_soap_t *soap, apr_pool_t *p,
                               gh_result_t *result)
{
    const xmlNode *client;
    const char *text;

    memset(request, 0, sizeof(*request));
    request->client_version = request->server_version = -1;
    if (strcmp(soap->action, WSTEP_ACTION_GET_POLICIES) != 0
        || !wstep_xml_is(soap->payload, WSTEP_NS_POLICY, "GetPolicies")) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "xcep.action",
                              "Ask for GetPolicies here, and for certificates at /wstep.",
                              GHNO(1370) "the Action %.200s with %.64s is not served here",
                              soap->action, (const char *)soap->payload->name);
    }
    client = wstep_xml_child(soap->payload, WSTEP_NS_POLICY, "client", NULL);
    if (!client) {
        return refuse(result, "it has not one client");
    }
    if (!take_text(&text, client, "lastUpdate", p) || !take_time(&request->last_update, text)) {
        return refuse(result, "lastUpdate is no time");
    }
    if (!take_text(&request->language, client, "preferredLanguage", p)) {
        return refuse(result, "preferredLanguage is no text");
    }
    return read_filter(request, soap->payload, p, result);
}
