/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the parent does, as root: the folder of the indexes, and the feeder that fills it. */

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <httpd.h>
#include <http_log.h>
#include <apr_strings.h>
#include <unixd.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_feed.h"
#include "mod_ocsp/ocsp_feed_start.h"

APLOG_USE_MODULE(ocsp);

#define FOLDER_MODE 0750

static int make_folder(const ocsp_server_t *server, server_rec *s)
{
    int failed = mkdir(server->directory, FOLDER_MODE) != 0;

    if (failed && errno == EEXIST) {
        return OK;
    }
    if (!failed && geteuid() == 0) {
        failed = chown(server->directory, ap_unixd_config.user_id, ap_unixd_config.group_id) != 0;
    }
    if (failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, errno, s, GHNO(0752) "OCSPDirectory: %s cannot be "
                     "made; make it, for the user that httpd runs as", server->directory);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

int ocsp_parent_start(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    const ocsp_server_t *server = ocsp_server(s);
    apr_array_header_t *authorities = apr_array_make(ptemp, server->sections->nelts,
                                                     sizeof(ocsp_feed_authority_t));
    int status = make_folder(server, s);
    int i;

    for (i = 0; i < server->sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(server->sections, i, ocsp_section_t *);
        ocsp_feed_authority_t *authority = apr_array_push(authorities);

        authority->name = section->name;
        authority->issuer = section->kind == GH_SOURCE_STORE ? section->name : NULL;
        authority->certificate = section->certificate;
        authority->retention = section->retention;
        authority->max_stale = section->policy.max_stale;
        authority->sources = section->configs;
    }
    return status == OK ? ocsp_start_feeder(server->directory, authorities, pconf, s) : status;
}
