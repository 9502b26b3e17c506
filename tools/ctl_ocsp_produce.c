/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Answers made ahead, for a static server or a CDN: ocsp produce. */

#include "ctl_commands.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/ocsp.h>

#include "ctl_file.h"
#include "ctl_ocsp.h"
#include "ctl_ocsp_files.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/own_keys.h"
#include "mod_ocsp/ocsp_signers.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/key.h"

#define RULE "ocsp"

/* Certificates read in one transaction, and the longest list of serials. */
#define PAGE 500
#define SERIALS_MAX ((apr_size_t)256 << 20)

const ctl_option_t ctl_ocsp_produce_options[] = {
    { "directory", 0, "DIR", "where the answers go" },
    { "authority", 0, "NAME", "only those of that authority" },
    { "digest", 0, "DIGEST", "of the requests that are answered: sha1 (default) or sha256" },
    { "serials", 0, "FILE", "serial numbers, one a line, instead of all in the store" },
    { NULL, 0, NULL, NULL }
};

/* An authority that is produced for. */
typedef struct {
    const ctl_authority_t *configured;
    X509 *ca;
    apr_array_header_t *signers;    /* ocsp_signer_t */
    ocsp_authority_t *authority;
    ocsp_endpoint_t endpoint;
} producer_t;

typedef struct {
    ctl_t *ctl;
    ctl_answers_t answers;
    apr_array_header_t *producers;  /* producer_t */
    ocsp_engine_t *engine;
    gh_sealer_t *sealer;
    int digest;
    gh_bytes_t serials;             /* data NULL: those of the store */
    int written;
    int current;
    int failed;
    apr_pool_t *ptemp;              /* of one certificate */
} produce_t;

static int usage(const char *what, const char *action)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE, action,
                   GHNO(0723) "ocsp produce: %s", what);
    return ctl_fail_usage(&result);
}

/* Signers */

static void add_signer(producer_t *producer, X509 *certificate, EVP_PKEY *key, apr_pool_t *p)
{
    ocsp_signer_t *signer;
    const char *warning;
    gh_result_t result;

    gh_result_clear(&result);
    if (ocsp_signer_check(producer->ca, certificate, key, apr_time_now(), &warning, p, &result)
        != APR_SUCCESS) {
        ctl_fail(&result);
        return;
    }
    signer = apr_array_push(producer->signers);
    memset(signer, 0, sizeof(*signer));
    signer->certificate = certificate;
    signer->key = key;
    signer->number = producer->signers->nelts - 1;
}

/* Key files are opened by root, tokens by the user of httpd's children. */
static void open_files(producer_t *producer, int tokens, apr_pool_t *p)
{
    const apr_array_header_t *signers = producer->configured->signers;
    int i;

    for (i = 0; i < signers->nelts; i++) {
        const ctl_signer_t *signer = APR_ARRAY_IDX(signers, i, const ctl_signer_t *);
        X509 *certificate;
        EVP_PKEY *key;
        gh_result_t result;

        if (signer->certificate == NULL || signer->key == NULL
            || !gh_key_is_token(signer->key) != !tokens) {
            continue;
        }
        gh_result_clear(&result);
        if (gh_certificate_open(&certificate, signer->certificate, signer->passphrase, p, &result)
            != APR_SUCCESS
            || gh_key_open(&key, signer->key, signer->passphrase, p, &result) != APR_SUCCESS) {
            ctl_fail(&result);
            continue;
        }
        add_signer(producer, certificate, key, p);
    }
}

static void open_enrolled(const produce_t *produce, producer_t *producer)
{
    const apr_array_header_t *signers = producer->configured->signers;
    apr_pool_t *p = produce->ctl->p;
    apr_array_header_t *generations;
    gh_result_t result;
    int i, j;

    for (i = 0; i < signers->nelts; i++) {
        const ctl_signer_t *signer = APR_ARRAY_IDX(signers, i, const ctl_signer_t *);

        if (signer->kind == NULL || produce->sealer == NULL || produce->ctl->store == NULL) {
            continue;
        }
        gh_result_clear(&result);
        if (gh_generations_list(&generations, produce->ctl->store,
                                ocsp_signer_purpose(signer->kind, p), producer->configured->name,
                                apr_time_now(), p, &result) != APR_SUCCESS) {
            ctl_fail(&result);
            continue;
        }
        for (j = 0; j < generations->nelts; j++) {
            const gh_generation_t *one = gh_generation_at(generations, j);
            X509 *certificate;
            EVP_PKEY *key;

            if (!one->usable) {
                continue;
            }
            if (gh_generation_open(&key, &certificate, one->record, produce->sealer, p, &result)
                == APR_SUCCESS) {
                add_signer(producer, certificate, key, p);
            }
            else {
                ctl_fail(&result);
            }
        }
    }
}

/* Takes up what has changed meanwhile: to make all of them may take hours. What cannot be had now
 * is told by the age of what is known. */
static void follow(produce_t *produce, producer_t *producer)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_view_follow(ocsp_authority_view(producer->authority), produce->ctl->store, produce->ptemp,
                   &result);
}

/* One certificate */

static void report(produce_t *produce, const producer_t *producer, gh_bytes_t serial,
                   const char *name, const ocsp_verdict_t *verdict, const char *outcome,
                   const gh_result_t *result)
{
    const char *hex = gh_hex(produce->ptemp, serial.data, serial.length);
    json_t *object;

    if (!produce->ctl->json) {
        if (*result->number != '\0') {
            fprintf(stderr, "gatehousectl: %s: %s %s: %s\n  %s\n", result->number,
                    producer->configured->name, hex, result->message, result->action);
        }
        return;
    }
    object = json_object();
    json_object_set_new(object, "authority", json_string(producer->configured->name));
    json_object_set_new(object, "serial", json_string(hex));
    json_object_set_new(object, "path", ctl_json_text(name, produce->ptemp));
    json_object_set_new(object, "result", json_string(outcome));
    json_object_set_new(object, "status", verdict->ocsp != OCSP_SUCCESSFUL ? json_null()
                        : json_string(OCSP_cert_status_str(verdict->status)));
    json_object_set_new(object, "this_update", ctl_json_time(verdict->this_update,
                                                             produce->ptemp));
    json_object_set_new(object, "next_update", ctl_json_time(verdict->next_update,
                                                             produce->ptemp));
    json_object_set_new(object, "gh", *result->number != '\0' ? json_string(result->number)
                                                              : json_null());
    json_object_set_new(object, "message", *result->message != '\0'
                        ? ctl_json_text(result->message, produce->ptemp) : json_null());
    ctl_json_print(stdout, object);
}

/*
 * What nobody has issued may be issued tomorrow: nothing is made ahead for it. An answer that
 * cannot be made anew goes if it is wrong, and else stays until its end.
 */
static void produce_one(produce_t *produce, producer_t *producer, gh_bytes_t serial)
{
    apr_pool_t *p = produce->ptemp;
    apr_time_t now = apr_time_now();
    const char *name = ctl_answers_name(producer->ca, produce->digest, serial, p);
    ocsp_verdict_t verdict;
    ocsp_answer_t answer;
    gh_result_t result;
    apr_status_t rv;
    int current;

    gh_result_clear(&result);
    memset(&verdict, 0, sizeof(verdict));
    ocsp_decide(producer->authority, serial, now, &verdict, &result);
    if (name == NULL || verdict.ocsp != OCSP_SUCCESSFUL) {
        produce->failed++;
        report(produce, producer, serial, name, &verdict, "failed", &result);
        return;
    }
    current = ctl_answers_current(&produce->answers, name, producer->ca, &verdict, now, p);
    if (current == 1 && verdict.status != V_OCSP_CERTSTATUS_UNKNOWN) {
        produce->current++;
        return;
    }
    if (verdict.status != V_OCSP_CERTSTATUS_UNKNOWN) {
        ocsp_engine_produce(produce->engine, &producer->endpoint, producer->authority,
                            produce->digest, serial, now, &answer, p, &result);
        if (answer.ocsp == OCSP_SUCCESSFUL && answer.authoritative) {
            rv = ctl_answers_put(&produce->answers, name, &answer, p);
            if (rv == APR_SUCCESS) {
                produce->written++;
                report(produce, producer, serial, name, &verdict, "written", &result);
                return;
            }
            gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                           "See whether the disk is full, and who may write there.",
                           GHNO(0726) "the answer cannot be written: %s", ctl_error_text(rv, p));
        }
    }
    if (current >= 0 && (verdict.status == V_OCSP_CERTSTATUS_UNKNOWN
                         || !ctl_answers_agrees(&produce->answers, name, &verdict, now, p))) {
        ctl_answers_remove(&produce->answers, name, p);
    }
    produce->failed++;
    report(produce, producer, serial, name, &verdict, "failed", &result);
}

static void produce_serials(produce_t *produce, producer_t *producer)
{
    const char *text = (const char *)produce->serials.data;
    char *copy = apr_pstrmemdup(produce->ctl->p, text, produce->serials.length);
    gh_bytes_t serial;
    gh_result_t result;
    char *last, *line;
    int number = 0;

    for (line = apr_strtok(copy, "\r\n", &last); line != NULL;
         line = apr_strtok(NULL, "\r\n", &last)) {
        apr_pool_clear(produce->ptemp);
        if (++number % PAGE == 0) {
            follow(produce, producer);
        }
        line += strspn(line, " \t");
        if (*line == '\0' || *line == '#') {
            continue;
        }
        if (gh_serial_parse(&serial, line, produce->ptemp) != APR_SUCCESS) {
            gh_result_clear(&result);
            gh_result_fail(&result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                           "Write hexadecimal digits, at most 20 bytes, one number a line.",
                           GHNO(0725) "line %d of the list has no serial number", number);
            ctl_fail(&result);
            produce->failed++;
            continue;
        }
        produce_one(produce, producer, serial);
    }
}

typedef struct {
    gh_certificate_filter_t filter;
    apr_array_header_t *records;
    apr_pool_t *p;
} list_t;

static apr_status_t list_work(gh_transaction_t *transaction, void *baton)
{
    list_t *list = baton;

    return gh_certificate_list(transaction, &list->filter, &list->records, list->p);
}

/* All that have not expired, in pages. */
static int produce_store(produce_t *produce, producer_t *producer)
{
    apr_pool_t *pages[2];
    gh_result_t result;
    list_t list;
    int i, turn = 0;

    memset(&list, 0, sizeof(list));
    apr_pool_create(&pages[0], produce->ctl->p);
    apr_pool_create(&pages[1], produce->ctl->p);
    list.filter.issuer = producer->configured->issuer;
    list.filter.limit = PAGE;
    do {
        list.p = pages[turn++ % 2];
        apr_pool_clear(list.p);
        gh_result_clear(&result);
        if (gh_store_read(produce->ctl->store, list_work, &list, &result) != APR_SUCCESS) {
            return ctl_fail(&result);
        }
        apr_pool_clear(produce->ptemp);
        follow(produce, producer);
        for (i = 0; i < list.records->nelts; i++) {
            const gh_certificate_record_t *record = APR_ARRAY_IDX(
                list.records, i, const gh_certificate_record_t *);

            apr_pool_clear(produce->ptemp);
            if (record->not_after > apr_time_now()) {
                produce_one(produce, producer, record->serial);
            }
            list.filter.after_serial = record->serial;
            list.filter.after_issuer = record->issuer;
        }
    } while (list.records->nelts == PAGE);
    return CTL_OK;
}

/* An authority */

static int begin_authority(produce_t *produce, producer_t *producer)
{
    const ctl_authority_t *configured = producer->configured;
    apr_array_header_t *one = apr_array_make(produce->ctl->p, 1, sizeof(ocsp_authority_t *));
    apr_pool_t *p = produce->ctl->p;
    ocsp_signers_t *signers;
    gh_result_t result;
    gh_view_t *view;

    gh_result_clear(&result);
    if (ctl_ocsp_view(&view, produce->ctl, configured,
                      configured->store ? GH_SOURCE_STORE : GH_SOURCE_FILES,
                      produce->ctl->store, p, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    signers = ocsp_signers_fixed(producer->ca, producer->signers, p, &result);
    producer->authority = ocsp_authority_create(configured->name, producer->ca,
                                                &configured->policy, p, &result);
    if (signers == NULL || producer->authority == NULL) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    ocsp_authority_set_view(producer->authority, view);
    ocsp_authority_set_signers(producer->authority, signers);
    APR_ARRAY_PUSH(one, ocsp_authority_t *) = producer->authority;
    producer->endpoint.authorities = ocsp_authorities_create(one, p);
    producer->endpoint.max_ids = 1;
    return CTL_OK;
}

static int produce_authority(produce_t *produce, producer_t *producer)
{
    int code;

    if (producer->configured->policy.next_update == 0) {
        return usage("answers without nextUpdate cannot be made ahead",
                     "Set OCSPNextUpdate for the authority, or leave it out with --authority.");
    }
    if (produce->serials.data == NULL && !producer->configured->store) {
        return usage("which certificates a CA elsewhere has issued is not in the store",
                     "List their serial numbers with --serials and name the CA with --authority.");
    }
    open_files(producer, 1, produce->ctl->p);
    open_enrolled(produce, producer);
    code = begin_authority(produce, producer);
    if (code == CTL_OK && produce->serials.data != NULL) {
        produce_serials(produce, producer);
    }
    else if (code == CTL_OK) {
        code = produce_store(produce, producer);
    }
    return code;
}

/* What only root may be able to read. */
static int open_all(produce_t *produce, const ctl_arguments_t *arguments)
{
    const apr_array_header_t *authorities = produce->ctl->config->authorities;
    const char *wanted = ctl_option(arguments, "authority");
    apr_pool_t *p = produce->ctl->p;
    gh_result_t result;
    int code = CTL_OK;
    int i;

    if (wanted != NULL && ctl_find_authority(produce->ctl, wanted, &code) == NULL) {
        return code;
    }
    for (i = 0; i < authorities->nelts; i++) {
        const ctl_authority_t *authority = APR_ARRAY_IDX(authorities, i, const ctl_authority_t *);
        producer_t *producer;

        if (wanted != NULL && strcmp(wanted, authority->name) != 0) {
            continue;
        }
        producer = apr_array_push(produce->producers);
        memset(producer, 0, sizeof(*producer));
        producer->configured = authority;
        producer->signers = apr_array_make(p, 2, sizeof(ocsp_signer_t));
        gh_result_clear(&result);
        if (gh_certificate_open(&producer->ca, authority->certificate, NULL, p, &result)
            != APR_SUCCESS) {
            return ctl_fail(&result);
        }
        open_files(producer, 0, p);
    }
    if (produce->ctl->config->sealing_key != NULL
        && gh_sealer_open(&produce->sealer, produce->ctl->config->sealing_key, p, &result)
           != APR_SUCCESS) {
        ctl_fail(&result);
    }
    return CTL_OK;
}

static int needs_store(const produce_t *produce)
{
    int i, j;

    for (i = 0; i < produce->producers->nelts; i++) {
        const ctl_authority_t *one = APR_ARRAY_IDX(produce->producers, i, producer_t).configured;

        for (j = 0; j < one->signers->nelts; j++) {
            if (APR_ARRAY_IDX(one->signers, j, const ctl_signer_t *)->kind != NULL) {
                return 1;
            }
        }
        if (one->store) {
            return 1;
        }
    }
    return 0;
}

static int produce_all(produce_t *produce, const char *directory)
{
    const ocsp_engine_options_t options = { NULL, NULL, { NULL, 0 }, NULL };
    gh_result_t result;
    int code = CTL_OK;
    int i;

    gh_result_clear(&result);
    if (needs_store(produce) && ctl_open_store(produce->ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    if (ctl_answers_open(&produce->answers, directory, produce->ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    produce->engine = ocsp_engine_create(&options, produce->ctl->p);
    for (i = 0; i < produce->producers->nelts && code == CTL_OK; i++) {
        code = produce_authority(produce, &APR_ARRAY_IDX(produce->producers, i, producer_t));
    }
    ctl_answers_sweep(&produce->answers, apr_time_now());
    if (!produce->ctl->json) {
        printf("%d written, %d current, %d removed, %d failed\n", produce->written,
               produce->current, produce->answers.removed, produce->failed);
    }
    return code != CTL_OK ? code : produce->failed > 0 ? CTL_FAILED : CTL_OK;
}

int ctl_ocsp_produce(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *directory = ctl_option(arguments, "directory");
    const char *digest = ctl_option(arguments, "digest");
    const char *serials = ctl_option(arguments, "serials");
    produce_t produce;
    apr_status_t rv;
    int code;

    memset(&produce, 0, sizeof(produce));
    produce.ctl = ctl;
    produce.producers = apr_array_make(ctl->p, 4, sizeof(producer_t));
    apr_pool_create(&produce.ptemp, ctl->p);
    produce.digest = digest == NULL || strcmp(digest, "sha1") == 0 ? NID_sha1
        : strcmp(digest, "sha256") == 0 ? NID_sha256 : 0;
    if (directory == NULL) {
        return usage("no folder for the answers was given", "Name it with --directory.");
    }
    if (produce.digest == 0) {
        return usage("requests have another digest than those", "Give sha1 or sha256.");
    }
    if (serials != NULL
        && (rv = ctl_file_read(&produce.serials, serials, SERIALS_MAX, ctl->p)) != APR_SUCCESS) {
        return usage(apr_psprintf(ctl->p, "%s cannot be read: %s", serials,
                                  ctl_error_text(rv, ctl->p)), "Check the path.");
    }
    code = ctl_configure(ctl);
    if (code == CTL_OK) {
        code = open_all(&produce, arguments);
    }
    if (code == CTL_OK) {
        code = ctl_drop_privileges(ctl);
    }
    return code == CTL_OK ? produce_all(&produce, directory) : code;
}
