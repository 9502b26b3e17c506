/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* ThumbprintSource, ThumbprintTrustedProxy, EscrowPinFile. */

#include "mod_escrow/thumbprint.h"

#include <string.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_escrow/escrow_header.h"

APLOG_USE_MODULE(escrow);

#define PROXIES_MAX 1000

static int is_field_name(const char *name)
{
    return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789-_")];
}

const char *thumbprint_set_source(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    escrow_section_t *section = dir;

    if (argc == 1 && !ap_cstr_casecmp(argv[0], "tls")) {
        section->source = ESCROW_SOURCE_TLS;
        return NULL;
    }
    if (argc != 3 || ap_cstr_casecmp(argv[0], "header") || !is_field_name(argv[1])
        || !(section->format = escrow_header_format(argv[2]))) {
        return GHNO(1156) "ThumbprintSource takes \"tls\", or \"header\", the name of the header, "
                          "and its form: rfc9440, xfcc, nginx, haproxy or alb";
    }
    section->source = ESCROW_SOURCE_HEADER;
    section->header = argv[1];
    APR_ARRAY_PUSH(escrow_global(cmd->pool)->headers, const char *) = argv[1];
    return NULL;
}

static const char *bad_proxy(cmd_parms *cmd, const char *what)
{
    return apr_psprintf(cmd->pool, GHNO(1157) "ThumbprintTrustedProxy takes addresses such as "
                        "10.0.0.7 or 10.0.0.0/24, and thumbprint=VALUE, not \"%s\"", what);
}

const char *thumbprint_set_proxy(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    escrow_server_t *server = escrow_server(cmd->server);
    escrow_pins_t *thumbprints = NULL;
    escrow_proxy_t *proxy;
    int i;

    if (!server->proxies) {
        server->proxies = apr_array_make(cmd->pool, 2, sizeof(escrow_proxy_t));
    }
    if (server->proxies->nelts >= PROXIES_MAX) {
        return bad_proxy(cmd, "so many of them");
    }
    proxy = apr_array_push(server->proxies);
    proxy->networks = apr_array_make(cmd->pool, 2, sizeof(apr_ipsubnet_t *));
    for (i = 0; i < argc; ++i) {
        gh_thumbprint_t thumbprint;
        apr_ipsubnet_t *network;
        char *address, *bits;

        if (!strncmp(argv[i], "thumbprint=", 11)) {
            if (gh_thumbprint_parse(&thumbprint, argv[i] + 11, strlen(argv[i]) - 11, NULL, NULL)
                != APR_SUCCESS) {
                return bad_proxy(cmd, argv[i]);
            }
            thumbprints = thumbprints ? thumbprints : escrow_pins_make(cmd->pool);
            escrow_pins_add(thumbprints, &thumbprint, ESCROW_ROLE_ANY, 0);
            continue;
        }
        address = apr_pstrdup(cmd->pool, argv[i]);
        bits = strchr(address, '/');
        if (bits) {
            *bits++ = '\0';
        }
        if (apr_ipsubnet_create(&network, address, bits, cmd->pool) != APR_SUCCESS) {
            return bad_proxy(cmd, argv[i]);
        }
        APR_ARRAY_PUSH(proxy->networks, apr_ipsubnet_t *) = network;
    }
    proxy->thumbprints = thumbprints;
    return proxy->networks->nelts ? NULL : bad_proxy(cmd, "no address");
}

/** For gatehousectl, which has more to say than that. */
static int dump_problem(cmd_parms *cmd, const gh_result_t *result)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *note
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);

    return note && note(cmd->pool, NULL, "EscrowPinFile", cmd->directive->filename,
                        cmd->directive->line_num, result);
}

const char *thumbprint_add_file(cmd_parms *cmd, const char *path, int with_roles, int *index)
{
    escrow_global_t *global = escrow_global(cmd->pool);
    escrow_pins_t *pins;
    escrow_file_t *file;
    gh_result_t result;
    escrow_skipped_t skipped;
    int i, bare = 0;

    path = ap_server_root_relative(cmd->pool, path);
    if (!path) {
        return GHNO(1166) "the path of a file of pins is not valid";
    }
    for (i = 0; i < global->pin_files->nelts; ++i) {
        file = APR_ARRAY_IDX(global->pin_files, i, escrow_file_t *);
        if (!strcmp(file->path, path) && file->with_roles == with_roles) {
            *index = i;
            return NULL;
        }
    }
    gh_result_clear(&result);
    if ((escrow_pins_read(&pins, path, with_roles, &bare, &skipped, cmd->temp_pool, &result)
             != APR_SUCCESS
         || (skipped.count && escrow_pins_skipped(&skipped, with_roles, cmd->temp_pool, &result)
                 != APR_SUCCESS))
        && !dump_problem(cmd, &result)) {
        return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message,
                            result.action);
    }
    global->bare += bare;
    file = apr_pcalloc(cmd->pool, sizeof(*file));
    file->path = path;
    file->with_roles = with_roles;
    *index = file->index = global->pin_files->nelts;
    APR_ARRAY_PUSH(global->pin_files, escrow_file_t *) = file;
    return NULL;
}

const char *thumbprint_set_pin_file(cmd_parms *cmd, void *dir, const char *path)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int index;

    return error ? error : thumbprint_add_file(cmd, path, 1, &index);
}

int thumbprint_check(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    const escrow_global_t *global = escrow_global_now();
    const server_rec *one;
    int proxies = 0;

    if (!global) {
        return 0;
    }
    if (global->bare) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE | APLOG_STARTUP, 0, s, GHNO(1155) "%d thumbprint%s "
                     "of the configuration %s 40 digits without a prefix, and %s taken for SHA-1; "
                     "write sha1: before %s, or better pin SHA-256", global->bare,
                     global->bare == 1 ? "" : "s", global->bare == 1 ? "has" : "have",
                     global->bare == 1 ? "is" : "are", global->bare == 1 ? "it" : "them");
    }
    for (one = s; one; one = one->next) {
        proxies += escrow_server(one)->proxies != NULL;
    }
    if (global->headers->nelts && !proxies) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1163) "ThumbprintSource "
                     "header %s has no ThumbprintTrustedProxy: nobody may send that header; name "
                     "the addresses of the proxy",
                     APR_ARRAY_IDX(global->headers, 0, const char *));
        return 1;
    }
    return 0;
}
