/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The configuration API. It answers on the machine itself alone, and only who has the role admin in
 * a file of EscrowPinFile, whatever Require says: anybody may have an account there, or a proxy. */

#include "mod_escrow/escrow_admin.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_escrow/escrow_configuration.h"
#include "mod_escrow/escrow_problem.h"
#include "mod_escrow/escrow_tls.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/thumbprint.h"
#include "status.h"

#define RULE "configuration"

int escrow_send_hc(request_rec *r)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();
    const char *node = service && service->node ? service->node : "";
    unsigned char digest[EVP_MAX_MD_SIZE];

    /* tells nodes apart, and nothing of them */
    if (!EVP_Digest(node, strlen(node), digest, NULL, EVP_sha256(), NULL)) {
        memset(digest, 0, sizeof(digest));
    }
    return escrow_json_send(r, HTTP_OK, json_pack("{s:s}", "host", gh_hex(r->pool, digest, 16)));
}

static int refuse(request_rec *r, int status, const gh_result_t *result)
{
    escrow_problem_tell(r, "configure", result);
    return escrow_problem_send(r, status, result);
}

static int refuse_failure(request_rec *r, apr_status_t rv, gh_result_t *result)
{
    if (!*result->number) {
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE, "Try again later.",
                       GHNO(1194) "the store cannot be used now");
    }
    return refuse(r, escrow_problem_status(result), result);
}

static int is_loopback(const apr_sockaddr_t *address)
{
    static const unsigned char mapped[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127 };
    static const unsigned char loopback[16] = { [15] = 1 };
    const unsigned char *bytes = address ? address->ipaddr_ptr : NULL;

    if (!bytes) {
        return 0;
    }
    if (address->family == APR_INET) {
        return bytes[0] == 127;
    }
    return address->family == APR_INET6
           && (!memcmp(bytes, loopback, sizeof(loopback))
               || !memcmp(bytes, mapped, sizeof(mapped)));
}

/** @return OK, or what was answered */
static int permit(request_rec *r)
{
    const conn_rec *c = r->connection->master ? r->connection->master : r->connection;
    const thumbprint_request_t *request = thumbprint_look(r);
    gh_result_t result;

    gh_result_clear(&result);
    if (!is_loopback(thumbprint_peer(r->connection)) || !is_loopback(c->local_addr)) {
        gh_result_fail(&result, APR_EACCES, GH_FAILURE_DENIED, RULE,
                       "Ask on the machine itself, at an address of it such as 127.0.0.1.",
                       GHNO(1186) "the configuration API answers on the machine itself only");
        return refuse(r, HTTP_FORBIDDEN, &result);
    }
    if (!request->client || escrow_client_time(request->client, r->request_time)
        || !thumbprint_in_pin_files(r, request->client, ESCROW_ROLE_ADMIN, r->request_time)) {
        gh_result_fail(&result, APR_EACCES, GH_FAILURE_DENIED, RULE,
                       "Write the thumbprint with the role admin into a file of EscrowPinFile.",
                       GHNO(1187) "the configuration API needs a client certificate with the role "
                                  "admin");
        return refuse(r, request->client ? HTTP_FORBIDDEN : HTTP_UNAUTHORIZED, &result);
    }
    return OK;
}

static int send_configuration(request_rec *r)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();
    escrow_configuration_t *configuration;
    gh_result_t result;
    apr_status_t rv = GH_EUNAVAILABLE;

    gh_result_clear(&result);
    if (service) {
        rv = escrow_configuration_read(&configuration, service->store, r->pool, &result);
    }
    if (rv != APR_SUCCESS) {
        return refuse_failure(r, rv, &result);
    }
    escrow_tls_add_files(configuration->endpoints, r->pool);
    apr_table_setn(r->headers_out, "ETag",
                   apr_pstrcat(r->pool, "\"", *configuration->version ? configuration->version
                                                                       : "0", "\"", NULL));
    return escrow_json_send(r, HTTP_OK, escrow_configuration_json(configuration, r->pool));
}

static apr_status_t cleanse(void *data)
{
    gh_bytes_t *body = data;

    OPENSSL_cleanse((void *)body->data, body->length);
    return APR_SUCCESS;
}

/** @return OK, or an HTTP status */
static int read_body(request_rec *r, gh_bytes_t *body)
{
    apr_size_t size = 64 * 1024, length = 0;
    unsigned char *data = apr_palloc(r->pool, size);
    long got;
    int rv = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);

    if (rv != OK) {
        return rv;
    }
    if (!ap_should_client_block(r)) {
        body->length = 0;
        body->data = data;
        return OK;
    }
    while ((got = ap_get_client_block(r, (char *)data + length, size - length)) > 0) {
        length += (apr_size_t)got;
        if (length > ESCROW_CHANGE_MAX) {
            OPENSSL_cleanse(data, length);
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        if (length == size) {
            unsigned char *larger = apr_palloc(r->pool, 2 * size);

            memcpy(larger, data, length);
            OPENSSL_cleanse(data, length);
            data = larger;
            size *= 2;
        }
    }
    body->data = data;
    body->length = length;
    apr_pool_cleanup_register(r->pool, apr_pmemdup(r->pool, body, sizeof(*body)), cleanse,
                              apr_pool_cleanup_null);
    return got < 0 ? HTTP_BAD_REQUEST : OK;
}

/** Which certificate is meant. */
static apr_status_t choose_endpoint(const escrow_change_t *change, const char **name,
                                    gh_result_t *result)
{
    const apr_array_header_t *names = escrow_global_now()->tls_names;
    int i, found = names->nelts == 1 && !change->name;

    *name = change->name ? change->name : names->nelts ? APR_ARRAY_IDX(names, 0, const char *)
                                                       : "";
    for (i = 0; i < names->nelts; ++i) {
        found |= !strcmp(APR_ARRAY_IDX(names, i, const char *), *name) && change->name != NULL;
    }
    if (!found) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Name one of EscrowTLS in server_certificate.name.",
                              GHNO(1195) "it is not known which certificate is meant, \"%.64s\"",
                              *name);
    }
    if (!escrow_vault()) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Add EscrowVaultKey to the configuration of httpd.",
                              GHNO(1193) "without a vault no key can be stored");
    }
    return APR_SUCCESS;
}

/** If-Match (RFC 9110 13.1.1). @return NULL: any version */
static const char *wanted_version(request_rec *r)
{
    const char *match = apr_table_get(r->headers_in, "If-Match");
    apr_size_t length = match ? strlen(match) : 0;

    if (!match || !strcmp(match, "*")) {
        return NULL;
    }
    if (length >= 2 && match[0] == '"' && match[length - 1] == '"') {
        match = apr_pstrmemdup(r->pool, match + 1, length - 2);
        return strcmp(match, "0") ? match : "";
    }
    return match;
}

static int change(request_rec *r, gh_bytes_t body)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();
    escrow_apply_t how = { .version = wanted_version(r), .who = thumbprint_name(r),
                           .now = apr_time_now(), .vault = escrow_vault() };
    escrow_change_t *wanted;
    escrow_endpoint_t *endpoint;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    how.force = r->args && !strcmp(r->args, "force=true");
    how.event = escrow_audit_event(r, "configure");
    rv = service ? escrow_change_parse(&wanted, body, r->pool, &result) : GH_EUNAVAILABLE;
    if (rv == APR_SUCCESS && wanted->pkcs12.length) {
        rv = choose_endpoint(wanted, &how.endpoint_name, &result);
        if (rv == APR_SUCCESS) {
            rv = escrow_endpoint_read(&endpoint, escrow_opener(), wanted->pkcs12, wanted->password,
                                      how.now, r->pool, &result);
            how.endpoint = endpoint;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = escrow_change_apply(wanted, &how, service->store, r->pool, &result);
    }
    if (rv == GH_ECONFLICT) {
        if (!*result.number) {
            gh_result_fail(&result, rv, GH_FAILURE_CONFLICT, RULE, "Try again.",
                           GHNO(1196) "somebody else has set the certificate at the same time");
        }
        return refuse(r, HTTP_PRECONDITION_FAILED, &result);
    }
    return rv == APR_SUCCESS ? OK : refuse_failure(r, rv, &result);
}

static int not_here(request_rec *r, int status)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "It has /v1/hc, /v1/configuration (GET and PUT) and /v1/openapi.json.",
                   GHNO(1188) "the configuration API does not have that, or not so");
    return refuse(r, status, &result);
}

static int bad_body(request_rec *r, int status)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE, "Send a smaller one, whole.",
                   GHNO(1164) "the body is larger than %d bytes, or did not come to its end",
                   ESCROW_CHANGE_MAX);
    return refuse(r, status, &result);
}

int escrow_admin_handler(request_rec *r)
{
    int hc = !strcmp(r->uri, "/v1/hc"), document = !strcmp(r->uri, "/v1/openapi.json");
    int put = !strcmp(r->method, "PUT"), answered;
    gh_bytes_t body;

    if (!r->handler || strcmp(r->handler, ESCROW_HANDLER_ADMIN)) {
        return DECLINED;
    }
    if (!hc && !document && strcmp(r->uri, "/v1/configuration")) {
        return not_here(r, HTTP_NOT_FOUND);
    }
    if (r->method_number != M_GET && (hc || document || !put)) {
        apr_table_setn(r->headers_out, "Allow", hc || document ? "GET, HEAD" : "GET, HEAD, PUT");
        return not_here(r, HTTP_METHOD_NOT_ALLOWED);
    }
    if (hc) {
        return escrow_send_hc(r);
    }
    if (document) {
        escrow_send_document(r);
        return DONE;
    }
    if ((answered = permit(r)) != OK) {
        return answered;
    }
    if (put && (answered = read_body(r, &body)) != OK) {
        return bad_body(r, answered);
    }
    escrow_gatehouse()->begin_work(r);
    answered = put ? change(r, body) : OK;
    escrow_gatehouse()->end_work();
    if (put && answered == OK) {
        /* who is told that it is done may rely on it, on every node */
        apr_sleep(GH_PINS_SETTLED);
    }
    return answered == OK ? send_configuration(r) : answered;
}
