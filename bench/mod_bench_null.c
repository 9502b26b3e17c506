/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The least that a quick handler of httpd can do: reads what was sent and answers with the bytes of
 * a file and the header fields of an OCSP answer. The floor for whatever answers from there.
 *
 *     BenchNull PATH FILE
 */

#include <string.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_protocol.h>
#include <apr_file_io.h>
#include <apr_strings.h>

extern module AP_MODULE_DECLARE_DATA __attribute__((visibility("default"))) bench_null_module;

typedef struct {
    const char *path;
    apr_size_t path_length;
    const char *bytes;
    apr_size_t length;
} null_t;

static void *create(apr_pool_t *p, server_rec *s)
{
    return apr_pcalloc(p, sizeof(null_t));
}

static const char *set_null(cmd_parms *cmd, void *dir, const char *path, const char *name)
{
    null_t *config = ap_get_module_config(cmd->server->module_config, &bench_null_module);
    apr_file_t *file;
    apr_finfo_t info;
    char *bytes;

    if (apr_file_open(&file, name, APR_FOPEN_READ, 0, cmd->pool) != APR_SUCCESS
        || apr_file_info_get(&info, APR_FINFO_SIZE, file) != APR_SUCCESS) {
        return apr_pstrcat(cmd->pool, "cannot read ", name, NULL);
    }
    bytes = apr_palloc(cmd->pool, (apr_size_t)info.size);
    if (apr_file_read_full(file, bytes, (apr_size_t)info.size, NULL) != APR_SUCCESS) {
        return apr_pstrcat(cmd->pool, "cannot read ", name, NULL);
    }
    apr_file_close(file);
    config->path = path;
    config->path_length = strlen(path);
    config->bytes = bytes;
    config->length = (apr_size_t)info.size;
    return NULL;
}

static int handler(request_rec *r, int lookup)
{
    const null_t *config = ap_get_module_config(r->server->module_config, &bench_null_module);
    char buffer[8192];
    apr_bucket_brigade *brigade;
    int status;

    if (lookup || !config->path || strncmp(r->uri, config->path, config->path_length)) {
        return DECLINED;
    }
    status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    if (status != OK) {
        return status;
    }
    if (ap_should_client_block(r)) {
        while (ap_get_client_block(r, buffer, sizeof(buffer)) > 0) {
            continue;
        }
    }
    ap_set_content_type(r, "application/ocsp-response");
    ap_set_content_length(r, (apr_off_t)config->length);
    apr_table_setn(r->headers_out, "Cache-Control",
                   "max-age=1800, public, no-transform, must-revalidate");
    apr_table_setn(r->headers_out, "Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT");
    apr_table_setn(r->headers_out, "Expires", "Sun, 29 Nov 2026 13:00:00 GMT");
    apr_table_setn(r->headers_out, "ETag",
                   "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"");
    brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_immortal_create(config->bytes, config->length,
                                                                r->connection->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(r->connection->bucket_alloc));
    return ap_pass_brigade(r->output_filters, brigade) == APR_SUCCESS ? OK : DONE;
}

static const command_rec directives[] = {
    AP_INIT_TAKE2("BenchNull", set_null, NULL, RSRC_CONF, "a path and a file to answer with"),
    { .name = NULL }
};

static void register_hooks(apr_pool_t *p)
{
    ap_hook_quick_handler(handler, NULL, NULL, APR_HOOK_FIRST);
}

AP_DECLARE_MODULE(bench_null) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, create, NULL, directives, register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
