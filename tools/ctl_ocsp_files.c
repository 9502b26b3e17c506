/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_ocsp_files.h"

#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "ctl_file.h"
#include "ctl_text.h"
#include "status.h"
#include "x509/crl_read.h"

#define RULE "ocsp"

/* Tells a folder of answers from any other one. */
#define MARK ".gatehouse-ocsp"

#define ANSWER_MAX ((apr_size_t)65536)
#define DEPTH_MAX 64

#define MODES (APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_UEXECUTE | APR_FPROT_GREAD \
               | APR_FPROT_GEXECUTE | APR_FPROT_WREAD | APR_FPROT_WEXECUTE)

static apr_status_t unusable(const char *path, const char *why, gh_result_t *result)
{
    return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                          "Give a new or an empty folder that the user of httpd's children may "
                          "write to.",
                          GHNO(0724) "%s cannot be used for answers: %s", path, why);
}

static int is_empty(const char *path, apr_pool_t *p)
{
    apr_finfo_t info;
    apr_dir_t *folder;
    int count = 0;

    if (apr_dir_open(&folder, path, p) != APR_SUCCESS) {
        return 0;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, folder) == APR_SUCCESS) {
        count += strcmp(info.name, ".") != 0 && strcmp(info.name, "..") != 0;
    }
    apr_dir_close(folder);
    return count == 0;
}

apr_status_t ctl_answers_open(ctl_answers_t *answers, const char *path, apr_pool_t *p,
                              gh_result_t *result)
{
    const char *mark = apr_pstrcat(p, path, "/" MARK, NULL);
    const gh_bytes_t nothing = { (const unsigned char *)"", 0 };
    apr_finfo_t info;
    apr_status_t rv;

    memset(answers, 0, sizeof(*answers));
    answers->path = path;
    answers->p = p;
    if ((rv = apr_dir_make_recursive(path, MODES, p)) != APR_SUCCESS) {
        return unusable(path, ctl_error_text(rv, p), result);
    }
    if (apr_stat(&info, mark, APR_FINFO_TYPE, p) == APR_SUCCESS) {
        return APR_SUCCESS;
    }
    if (!is_empty(path, p)) {
        return unusable(path, "there are other files", result);
    }
    rv = ctl_file_create(mark, nothing, 0644);
    return rv == APR_SUCCESS ? rv : unusable(path, ctl_error_text(rv, p), result);
}

static gh_bytes_t request_of(X509 *ca, int digest, gh_bytes_t serial, apr_pool_t *p)
{
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    BIGNUM *number = BN_bin2bn(serial.data, (int)serial.length, NULL);
    ASN1_INTEGER *integer = number != NULL ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    OCSP_CERTID *id = integer == NULL ? NULL
        : OCSP_cert_id_new(EVP_get_digestbynid(digest), X509_get_subject_name(ca),
                           X509_get0_pubkey_bitstr(ca), integer);
    unsigned char *der = NULL;
    gh_bytes_t bytes = { NULL, 0 };
    int length;

    if (request != NULL && id != NULL && OCSP_request_add0_id(request, id) != NULL) {
        id = NULL;
        length = i2d_OCSP_REQUEST(request, &der);
        if (length > 0) {
            bytes.data = apr_pmemdup(p, der, (apr_size_t)length);
            bytes.length = (apr_size_t)length;
            OPENSSL_free(der);
        }
    }
    OCSP_CERTID_free(id);
    ASN1_INTEGER_free(integer);
    BN_free(number);
    OCSP_REQUEST_free(request);
    ERR_clear_error();
    return bytes;
}

const char *ctl_answers_name(X509 *ca, int digest, gh_bytes_t serial, apr_pool_t *p)
{
    gh_bytes_t request = request_of(ca, digest, serial, p);
    char *name;

    if (request.data == NULL) {
        return NULL;
    }
    name = apr_palloc(p, request.length * 4 / 3 + 8);
    EVP_EncodeBlock((unsigned char *)name, request.data, (int)request.length);
    return name;
}

static const char *path_of(const ctl_answers_t *answers, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, answers->path, "/", name, NULL);
}

static OCSP_BASICRESP *read_answer(const char *path, apr_pool_t *ptemp)
{
    OCSP_BASICRESP *basic = NULL;
    OCSP_RESPONSE *response;
    const unsigned char *at;
    gh_bytes_t bytes;

    if (ctl_file_read(&bytes, path, ANSWER_MAX, ptemp) != APR_SUCCESS) {
        return NULL;
    }
    at = bytes.data;
    response = d2i_OCSP_RESPONSE(NULL, &at, (long)bytes.length);
    if (response != NULL && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        basic = OCSP_response_get1_basic(response);
    }
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return basic;
}

/* The signer in it, by the CA: a damaged file is no answer. */
static int is_signed(OCSP_BASICRESP *basic, X509 *ca)
{
    X509_STORE *store = X509_STORE_new();
    int verified = 0;

    if (store != NULL && X509_STORE_add_cert(store, ca) == 1
        && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1) {
        verified = OCSP_basic_verify(basic, NULL, store, 0) == 1;
    }
    X509_STORE_free(store);
    ERR_clear_error();
    return verified;
}

/* @param share of its life that may be over: 2 half, 1 all of it */
static int says(OCSP_SINGLERESP *single, const ocsp_verdict_t *verdict, apr_time_t now, int share)
{
    ASN1_GENERALIZEDTIME *revoked = NULL, *this_update = NULL, *next_update = NULL;
    int reason = -1;
    int status = OCSP_single_get0_status(single, &reason, &revoked, &this_update, &next_update);
    apr_time_t begin = gh_asn1_time(this_update), end = gh_asn1_time(next_update);

    return status == verdict->status && end > now && now < begin + (end - begin) / share
        && (status != V_OCSP_CERTSTATUS_REVOKED
            || (reason == verdict->reason
                && gh_asn1_time(revoked) / APR_USEC_PER_SEC
                   == verdict->revoked_at / APR_USEC_PER_SEC));
}

int ctl_answers_current(const ctl_answers_t *answers, const char *name, X509 *ca,
                        const ocsp_verdict_t *verdict, apr_time_t now, apr_pool_t *ptemp)
{
    OCSP_BASICRESP *basic = read_answer(path_of(answers, name, ptemp), ptemp);
    int current;

    if (basic == NULL) {
        return -1;
    }
    current = OCSP_resp_count(basic) == 1 && says(OCSP_resp_get0(basic, 0), verdict, now, 2)
        && is_signed(basic, ca);
    OCSP_BASICRESP_free(basic);
    return current;
}

int ctl_answers_agrees(const ctl_answers_t *answers, const char *name,
                       const ocsp_verdict_t *verdict, apr_time_t now, apr_pool_t *ptemp)
{
    OCSP_BASICRESP *basic = read_answer(path_of(answers, name, ptemp), ptemp);
    int agrees = basic != NULL && OCSP_resp_count(basic) == 1
        && says(OCSP_resp_get0(basic, 0), verdict, now, 1);

    OCSP_BASICRESP_free(basic);
    return agrees;
}

apr_status_t ctl_answers_put(ctl_answers_t *answers, const char *name,
                             const ocsp_answer_t *answer, apr_pool_t *ptemp)
{
    char *path = apr_pstrdup(ptemp, path_of(answers, name, ptemp));
    char *slash = strrchr(path, '/');
    apr_status_t rv;

    *slash = '\0';
    rv = apr_dir_make_recursive(path, MODES, ptemp);
    *slash = '/';
    if (rv == APR_SUCCESS) {
        rv = ctl_file_replace(path, answer->der, 0644, ptemp);
    }
    if (rv == APR_SUCCESS) {
        /* a static server gives it out as Last-Modified */
        rv = apr_file_mtime_set(path, answer->produced_at, ptemp);
    }
    return rv;
}

void ctl_answers_remove(ctl_answers_t *answers, const char *name, apr_pool_t *ptemp)
{
    answers->removed += apr_file_remove(path_of(answers, name, ptemp), ptemp) == APR_SUCCESS;
}

static void sweep_file(ctl_answers_t *answers, const char *path, apr_time_t now,
                       apr_pool_t *ptemp)
{
    OCSP_BASICRESP *basic = read_answer(path, ptemp);
    ASN1_GENERALIZEDTIME *next_update = NULL;

    if (basic != NULL && OCSP_resp_count(basic) > 0) {
        OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, NULL, &next_update);
        if (next_update != NULL && gh_asn1_time(next_update) <= now) {
            answers->removed += apr_file_remove(path, ptemp) == APR_SUCCESS;
        }
    }
    OCSP_BASICRESP_free(basic);
}

static void sweep_folder(ctl_answers_t *answers, const char *path, int depth, apr_time_t now)
{
    apr_finfo_t info;
    apr_dir_t *folder;
    apr_pool_t *p;

    apr_pool_create(&p, answers->p);
    if (depth < DEPTH_MAX && apr_dir_open(&folder, path, p) == APR_SUCCESS) {
        while (apr_dir_read(&info, APR_FINFO_NAME | APR_FINFO_TYPE, folder) == APR_SUCCESS) {
            const char *below = apr_pstrcat(p, path, "/", info.name, NULL);

            if (info.filetype == APR_REG && *info.name != '.') {
                apr_pool_t *ptemp;

                apr_pool_create(&ptemp, p);
                sweep_file(answers, below, now, ptemp);
                apr_pool_destroy(ptemp);
            }
            else if (info.filetype == APR_DIR && *info.name != '.') {
                sweep_folder(answers, below, depth + 1, now);
            }
        }
        apr_dir_close(folder);
    }
    apr_pool_destroy(p);
}

void ctl_answers_sweep(ctl_answers_t *answers, apr_time_t now)
{
    sweep_folder(answers, answers->path, 0, now);
}
