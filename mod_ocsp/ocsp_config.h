/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_config_h
#define mod_ocsp_ocsp_config_h

#include <httpd.h>
#include <http_config.h>
#include <apr_tables.h>
#include <openssl/types.h>

#include "issuer/issuer.h"
#include "mod_gatehouse/mod_gatehouse.h"
#include "mod_ocsp/ocsp_authority.h"
#include "mod_ocsp/ocsp_engine.h"
#include "mod_ocsp/ocsp_signers.h"
#include "mod_ocsp/ocsp_source.h"
#include "result.h"

/* What the files of the glue share: directives as read, and what the check makes of them. */

extern module AP_MODULE_DECLARE_DATA ocsp_module;

#define OCSP_HANDLER "gatehouse-ocsp"
#define OCSP_DIRECTORY "gatehouse-ocsp" /* below DefaultRuntimeDir */
#define OCSP_SIGNER_PROFILE "basic-ocsp"
#define OCSP_REQUEST_TYPE "application/ocsp-request"
#define OCSP_RESPONSE_TYPE "application/ocsp-response"

/** Where a directive stands, for messages; file NULL: nowhere. */
typedef struct {
    const char *file;
    int line;
} ocsp_place_t;

/** Names of authorities that an endpoint answers for: an OCSPServe directive. */
typedef struct {
    apr_array_header_t *names;      /* const char * */
    ocsp_place_t place;
    const ocsp_authorities_t *set;  /* made by the check */
} ocsp_serve_t;

/** What may be said for a server, a virtual host or a <Location>; NULL or -1: not said. */
typedef struct {
    ocsp_serve_t *serve;
    int nonce;
    int max_ids;
    int max_body;
    int signature;                  /* OCSP_SIGNATURE_* */
    X509_STORE *requestors;
    int mixed_refuse;
    int http_errors;
} ocsp_settings_t;

#define OCSP_MAX_IDS 100
#define OCSP_MAX_BODY 8192

/** An OCSPSource directive. */
typedef struct {
    ocsp_source_config_t config;
    ocsp_place_t place;
} ocsp_source_line_t;

/** A key of an OCSPSigner directive. */
typedef struct {
    ocsp_signer_config_t config;
    const char *profile;            /* auto: its name */
    ocsp_place_t place;
} ocsp_signer_line_t;

/** An <OCSPAuthority> section. */
typedef struct {
    const char *name;
    ocsp_place_t place;
    const char *certificate_path;   /* OCSPCertificate, or NULL */
    ocsp_place_t certificate_place;
    apr_array_header_t *sources;    /* ocsp_source_line_t */
    apr_array_header_t *signers;    /* ocsp_signer_line_t */
    const char *status;             /* OCSPStatus, or NULL */
    ocsp_place_t status_place;
    ocsp_policy_t policy;           /* what was said, in the members whose place is set */
    ocsp_place_t unknown_place;
    ocsp_place_t next_update_place;
    ocsp_place_t unknown_next_update_place;
    ocsp_place_t cutoff_place;
    ocsp_place_t max_stale_place;
    ocsp_place_t responder_place;
    apr_interval_time_t retention;  /* 0: off */
    ocsp_place_t retention_place;

    /* made by the check */
    gh_issuer_t *issuer;            /* NULL if it is none */
    X509 *certificate;
    const char *subject;            /* of it, as text */
    apr_array_header_t *configs;    /* ocsp_source_config_t */
    unsigned char digest[32];       /* ocsp_authority_digest() */
    gh_source_t kind;
    ocsp_authority_t *authority;
    ocsp_signers_t *set;
} ocsp_section_t;

/** A path that is answered at, and below it. */
typedef struct {
    const char *path;               /* without a final slash; "" for the whole server */
    apr_size_t length;
    ocsp_place_t place;
} ocsp_path_t;

/** Of a server_rec. */
typedef struct {
    apr_array_header_t *fast;       /* ocsp_path_t: OCSPFastPath; NULL: not said */
    apr_array_header_t *locations;  /* ocsp_path_t with the handler, longest first; by the check */

    /* of the main server alone */
    apr_array_header_t *sections;   /* ocsp_section_t * */
    ocsp_section_t *section;        /* being read, or NULL */
    const ocsp_authorities_t *all;  /* every authority; made by the check */
    const char *directory;          /* OCSPDirectory */
    ocsp_place_t directory_place;
    apr_size_t cache_size;          /* OCSPCache in bytes; 0: default */
    const char *second_level;       /* OCSPSecondLevel: provider, its arguments, where */
    const char *second_level_args;
    ocsp_place_t second_level_place;
    const char *second_level_key;   /* gh_secret_load() form */
    ocsp_place_t second_level_key_place;
    int signing;                    /* OCSPMaxSigning; 0: default */
    int live;
} ocsp_server_t;

#define OCSP_CACHE_SIZE ((apr_size_t)32 * 1024 * 1024)

/* ocsp_config.c: directives of servers and locations */

extern const command_rec ocsp_directives[];
void *ocsp_create_settings(apr_pool_t *p, char *path);
void *ocsp_merge_settings(apr_pool_t *p, void *base, void *add);
void *ocsp_create_server(apr_pool_t *p, server_rec *s);
void *ocsp_merge_server(apr_pool_t *p, void *base, void *add);
ocsp_server_t *ocsp_server(const server_rec *s);
/** What holds for a server, on its fast path. */
const ocsp_settings_t *ocsp_server_settings(const server_rec *s);
ocsp_place_t ocsp_place_of(const cmd_parms *cmd);
/** "GH0123: what was wrong. What to do" in p. */
const char *ocsp_explain(const gh_result_t *result, apr_status_t status, apr_pool_t *p);
/** "file:PATH" or "exec:PATH" with an absolute path; NULL for any other form. */
const char *ocsp_secret_source(apr_pool_t *p, const char *text);
/** An absolute path. @return an error, or NULL */
const char *ocsp_take_path(cmd_parms *cmd, const char **path, const char *text);
/** A size such as 32m. @return 0 if it is none, or not between least and most */
apr_size_t ocsp_size_parse(const char *text, apr_size_t least, apr_size_t most);

/* ocsp_config_authority.c: <OCSPAuthority> */

const char *ocsp_authority_section(cmd_parms *cmd, void *dir, const char *text);
/** The section being read, in which a directive may stand once.
 *  @param offset of its place in the section; 0: it may stand more than once
 *  @return an error, or NULL */
const char *ocsp_enter_section(cmd_parms *cmd, ocsp_section_t **section, apr_size_t offset);
const char *ocsp_set_certificate(cmd_parms *cmd, void *dir, const char *path);
const char *ocsp_set_status(cmd_parms *cmd, void *dir, const char *name);
const char *ocsp_set_unknown(cmd_parms *cmd, void *dir, const char *what);
const char *ocsp_set_next_update(cmd_parms *cmd, void *dir, const char *time);
const char *ocsp_set_unknown_next_update(cmd_parms *cmd, void *dir, const char *time);
const char *ocsp_set_cutoff(cmd_parms *cmd, void *dir, const char *what);
const char *ocsp_set_max_stale(cmd_parms *cmd, void *dir, const char *time);
const char *ocsp_set_responder_id(cmd_parms *cmd, void *dir, const char *what);
const char *ocsp_set_retention(cmd_parms *cmd, void *dir, const char *time);

/* ocsp_config_source.c, ocsp_config_signer.c */

const char *ocsp_set_source(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *ocsp_set_signer(cmd_parms *cmd, void *dir, int argc, char *const argv[]);

/* ocsp_locations.c: where it is answered */

/** The path of a request as it came: without scheme and host of an absolute-form target. */
const char *ocsp_raw_path(const request_rec *r);
/** The longest path that covers another one, and what stands behind it.
 *  @param paths ocsp_path_t, longest first; may be NULL
 *  @return NULL if there is none */
const ocsp_path_t *ocsp_path_find(const apr_array_header_t *paths, const char *path,
                                  const char **rest);
/** Finds the locations with the handler in each server, and says which of them do not work.
 *  @return how many problems were logged */
int ocsp_find_locations(server_rec *main_server, apr_pool_t *p, apr_pool_t *ptemp);
/** Whether some server answers for an authority at a path. To be called after that. */
int ocsp_is_answered_at(server_rec *main_server, const char *path, const char *authority,
                        apr_pool_t *ptemp);
/** gatehouse_ocsp_url(), see mod_gatehouse.h. */
const char *gatehouse_ocsp_url(server_rec *s, const char *issuer, const char *public_url,
                               apr_pool_t *p);

/* ocsp_check.c, ocsp_check_authority.c: what the configuration means as a whole */

/** Makes authorities and their sets, and logs every problem. @return how many there are */
int ocsp_check(server_rec *s, const gatehouse_config_t *config, apr_pool_t *p, apr_pool_t *ptemp);
/** Makes one authority. @return how many problems were logged */
int ocsp_check_section(ocsp_section_t *section, server_rec *s, const gatehouse_config_t *config,
                       apr_pool_t *p, apr_pool_t *ptemp);
/** Logs a problem with the place of its directive: "GH0123: file:line: text". */
void ocsp_log_problem(const server_rec *s, int level, ocsp_place_t place, const char *text,
                      apr_pool_t *ptemp);
/** @return 1 in the pass that leads to a running server, and with "httpd -t" */
int ocsp_final_pass(void);

/* ocsp_dump.c */

void ocsp_dump(void *json, server_rec *s, apr_pool_t *p);
/** Takes down for the dump that something cannot be had, see gatehouse_dump_problem().
 *  @return 0 if it is an error */
int ocsp_dump_problem(const ocsp_section_t *section, ocsp_place_t place, const char *directive,
                      const gh_result_t *result, apr_pool_t *pconf);

#endif /* mod_ocsp_ocsp_config_h */
