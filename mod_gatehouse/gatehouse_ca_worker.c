/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The worker that talks to CAs: its socket, and what it is told. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <unixd.h>

#include "gatehouse_remote.h"
#include "gatehouse_worker.h"
#include "log.h"
#include "secret_json.h"
#include "text.h"
#include "x509/ca.h"
#include "x509/seal.h"

APLOG_USE_MODULE(gatehouse);

#define SOCKET_NAME "ca-worker.sock"

/** Connections that wait until the worker accepts them. */
#define BACKLOG 1024

/** A job whose worker has died is taken up by another after this. */
#define LEASE apr_time_from_sec(30)
#define POLL apr_time_from_sec(1)

/** The socket, kept for longer than the configuration, so that both generations of children and
 *  workers have the same one during a restart. */
#define KEPT "gatehouse-ca-socket"

typedef struct {
    int made;
    int descriptor;
    dev_t device;                   /* of the file */
    ino_t inode;
    struct sockaddr_un address;
} kept_t;

const char *gatehouse_set_runtime_directory(cmd_parms *cmd, void *dir, const char *path)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (err) {
        return err;
    }
    settings->runtime = *path ? ap_server_root_relative(cmd->pool, path) : NULL;
    settings->runtime_place = gatehouse_place(cmd);
    if (!settings->runtime) {
        return apr_psprintf(cmd->pool, GHNO(0881) "GatehouseRuntimeDirectory: \"%s\" is not a "
                            "usable path", path);
    }
    return NULL;
}

const char *gatehouse_ca_socket(const gatehouse_settings_t *settings, apr_pool_t *p)
{
    const char *folder = settings->runtime ? settings->runtime : ap_runtime_dir_relative(p, "");
    apr_size_t length = folder ? strlen(folder) : 0;
    const char *path;

    if (!length) {
        return NULL;
    }
    path = apr_pstrcat(p, folder, folder[length - 1] == '/' ? "" : "/", SOCKET_NAME, NULL);
    return strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path) ? path : NULL;
}

/* Somebody may have removed the file, or put another in its place. */
static int is_in_place(const kept_t *kept, const char *path)
{
    struct stat info;

    return kept->made && !strcmp(kept->address.sun_path, path)
        && stat(path, &info) == 0 && info.st_dev == kept->device && info.st_ino == kept->inode;
}

/* @return an error of the system */
static int make_socket(kept_t *kept, const char *path)
{
    struct stat info;
    mode_t mask;
    int error = 0;

    if (lstat(path, &info) == 0 && !S_ISSOCK(info.st_mode)) {
        return EEXIST;
    }
    unlink(path);
    memset(&kept->address, 0, sizeof(kept->address));
    kept->address.sun_family = AF_UNIX;
    apr_cpystrn(kept->address.sun_path, path, sizeof(kept->address.sun_path));
    kept->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (kept->descriptor < 0) {
        return errno;
    }
    mask = umask(0177);
    if (bind(kept->descriptor, (struct sockaddr *)&kept->address, sizeof(kept->address))) {
        error = errno;
    }
    umask(mask);
    if (!error && geteuid() == 0
        && lchown(path, ap_unixd_config.user_id, ap_unixd_config.group_id)) {
        error = errno;
    }
    if (!error && (listen(kept->descriptor, BACKLOG) || stat(path, &info))) {
        error = errno;
    }
    if (error) {
        close(kept->descriptor);
        return error;
    }
    kept->made = 1;
    kept->device = info.st_dev;
    kept->inode = info.st_ino;
    return 0;
}

/* When httpd ends, the file stays until the next start: the pool that goes last goes after this
 * module. Nobody listens at it then. */
static int open_socket(const char *path, int *error)
{
    kept_t *kept = ap_retained_data_get(KEPT);

    if (!kept) {
        kept = ap_retained_data_create(KEPT, sizeof(*kept));
    }
    *error = 0;
    if (!is_in_place(kept, path)) {
        if (kept->made) {
            close(kept->descriptor);
            kept->made = 0;
        }
        *error = make_socket(kept, path);
    }
    return *error ? -1 : kept->descriptor;
}

/* The configuration */

static json_t *hex(gh_bytes_t bytes, apr_pool_t *p)
{
    return bytes.data ? json_string(gh_hex(p, bytes.data, bytes.length)) : NULL;
}

static json_t *describe_chain(const gh_issuer_t *issuer, apr_pool_t *p)
{
    const apr_array_header_t *chain = gh_issuer_chain(issuer);
    json_t *list = json_array();
    int i;

    for (i = 0; i < chain->nelts; ++i) {
        json_array_append_new(list, hex(gh_certificate_der(APR_ARRAY_IDX(chain, i, X509 *), p),
                                        p));
    }
    return list;
}

static json_t *describe_profiles(const apr_table_t *profiles)
{
    json_t *object = json_object();
    const apr_array_header_t *all;
    int i;

    if (profiles) {
        all = apr_table_elts(profiles);
        for (i = 0; i < all->nelts; ++i) {
            const apr_table_entry_t *entry = &APR_ARRAY_IDX(all, i, apr_table_entry_t);

            json_object_set_new(object, entry->key, json_string(entry->val));
        }
    }
    return object;
}

/* An array of options by profile. */
static json_t *describe_options(const apr_table_t *options)
{
    json_t *object = json_object();
    const apr_array_header_t *all;
    int i;

    all = options ? apr_table_elts(options) : NULL;
    for (i = 0; all && i < all->nelts; ++i) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(all, i, apr_table_entry_t);

        if (!json_object_get(object, entry->key)) {
            json_object_set_new(object, entry->key, json_array());
        }
        json_array_append_new(json_object_get(object, entry->key), json_string(entry->val));
    }
    return object;
}

static json_t *describe_spelling(const gatehouse_remote_t *remote)
{
    return json_pack("{s:s*, s:s*, s:s*, s:s*}", "validity", remote->spelling_validity,
                     "selector", remote->spelling_selector, "ca", remote->spelling_ca,
                     "properties", remote->spelling_properties);
}

static json_t *describe_events(const gatehouse_remote_t *remote)
{
    return remote->events
        ? json_pack("{s:I, s:I, s:b}", "wait", (json_int_t)remote->events_every,
                    "start", (json_int_t)remote->events_since, "serials", remote->events_serials)
        : NULL;
}

static json_t *describe_issuer(const gatehouse_issuer_section_t *section,
                               gh_secret_json_t *secrets, apr_pool_t *p)
{
    const gatehouse_remote_t *remote = &section->remote;
    const gh_issuer_config_t *config = gh_issuer_config(section->issuer);

    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o*, s:o*, s:s*, s:s*, s:s*, s:o, s:b, s:I, "
                     "s:i, s:f, s:I, s:I, s:s, s:b, s:s*, "
                     "s:o*, s:o, s:o, s:o*, s:o*}",
                     "name", section->name, "backend", gh_issuer_backend(section->issuer)->name,
                     "url", remote->url, "ca", remote->ca ? remote->ca : "",
                     "certificate", hex(gh_issuer_certificate_der(section->issuer), p),
                     "chain", describe_chain(section->issuer, p),
                     "credential", gh_secret_json_add(secrets, remote->pkcs12),
                     "passphrase", gh_secret_json_add(secrets, remote->secret),
                     "alias", remote->alias, "trust", remote->trusted, "proxy", remote->proxy,
                     "profiles", describe_profiles(remote->profiles), "search", remote->search,
                     "lag", (json_int_t)remote->lag, "concurrent", remote->concurrent,
                     "rate", remote->rate, "timeout", (json_int_t)remote->timeout,
                     "deadline", (json_int_t)config->deadline,
                     "subject", config->any_subject ? "any" : "authorised",
                     "enrolled", remote->enrolled,
                     "proxy_user", remote->proxy_user,
                     "proxy_password", gh_secret_json_add(secrets, remote->proxy_secret),
                     "options", describe_options(remote->profile_options),
                     "spelling", describe_spelling(remote), "events", describe_events(remote),
                     "cmp", gatehouse_describe_cmp(section, secrets));
}

/** The worker has them: nobody else needs them. */
static void forget_secrets(const gatehouse_settings_t *settings)
{
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_remote_t *remote
            = &APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *)->remote;
        const gh_bytes_t secrets[] = {
            remote->pkcs12, remote->secret, remote->proxy_secret, remote->cmp.secret
        };
        apr_size_t k;

        for (k = 0; k < sizeof(secrets) / sizeof(secrets[0]); ++k) {
            OPENSSL_cleanse((void *)secrets[k].data, secrets[k].data ? secrets[k].length : 0);
        }
    }
}

/** @param p is to be destroyed soon: the text has secrets */
static const char *describe(const gatehouse_settings_t *settings, apr_pool_t *p)
{
    gh_secret_json_t *secrets = gh_secret_json_create(p);
    json_t *issuers = json_array(), *document;
    gh_bytes_t sealing = { NULL, 0 };
    char *text;
    int i;

    for (i = 0; secrets && i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);

        if (gatehouse_is_remote(section)
            && json_array_append_new(issuers, describe_issuer(section, secrets, p))) {
            json_decref(issuers);
            return NULL;            /* something that is not UTF-8 */
        }
    }
    if (!secrets) {
        json_decref(issuers);
        return NULL;
    }
    if (settings->sealer) {
        sealing = gh_sealer_key(settings->sealer);
    }
    document = json_pack("{s:s, s:s, s:I, s:I, s:o*, s:o}", "store", settings->store, "node",
                         settings->node, "lease", (json_int_t)LEASE, "poll", (json_int_t)POLL,
                         "sealing", gh_secret_json_add(secrets, sealing), "issuers", issuers);
    text = gh_secret_json_write(secrets, document, p);
    json_decref(document);
    return text ? gatehouse_describe_sections(text, p) : NULL;
}

int gatehouse_register_ca_worker(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *pconf)
{
    const char *path = gatehouse_ca_socket(settings, pconf);
    gatehouse_worker_t worker = { .name = GATEHOUSE_CA_WORKER, .program = GATEHOUSE_CA_WORKER };
    apr_pool_t *ptemp;
    int error = EINVAL;

    if (!settings->remote) {
        return OK;
    }
    worker.input = path ? open_socket(path, &error) : -1;
    if (worker.input < 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, error, s, GHNO(0882) "there can be no socket %s; see "
                     "whether its folder is there and what is in it, or name another one with "
                     "GatehouseRuntimeDirectory", path ? path : "for the worker");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    apr_pool_create(&ptemp, pconf);
    worker.configuration = describe(settings, ptemp);
    if (worker.configuration) {
        /* that there is no such program is told when workers are started */
        gatehouse_register_worker(&worker, pconf);
    }
    apr_pool_destroy(ptemp);
    forget_secrets(settings);
    if (!worker.configuration) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GHNO(0883) "what is said of issuers behind "
                     "gateways, or of others that the worker talks to, cannot be written as "
                     "JSON; use UTF-8");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}
