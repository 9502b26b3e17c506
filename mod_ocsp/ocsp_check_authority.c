/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whether what an <OCSPAuthority> says fits together; the authority is made of it. */

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_config.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/profile.h"

APLOG_USE_MODULE(ocsp);

#define NEXT_UPDATE apr_time_from_sec(3600)
#define UNKNOWN_NEXT_UPDATE apr_time_from_sec(60)
#define MAX_STALE apr_time_from_sec(600)

/** A section being checked. */
typedef struct {
    ocsp_section_t *section;
    server_rec *s;
    const gatehouse_config_t *config;
    apr_pool_t *p;
    apr_pool_t *ptemp;
    int problems;
} check_t;

static void fail(check_t *check, ocsp_place_t place, const char *text)
{
    ocsp_log_problem(check->s, APLOG_ERR, place, text, check->ptemp);
    ++check->problems;
}

static void warn(check_t *check, ocsp_place_t place, const char *text)
{
    ocsp_log_problem(check->s, APLOG_WARNING, place, text, check->ptemp);
}

/* The CA */

static void check_certificate(check_t *check)
{
    ocsp_section_t *section = check->section;
    gh_result_t result;
    apr_status_t rv;

    section->issuer = apr_hash_get(check->config->issuers, section->name, APR_HASH_KEY_STRING);
    if (section->issuer && section->certificate_path) {
        fail(check, section->certificate_place,
             apr_psprintf(check->ptemp, GHNO(0635) "leave OCSPCertificate out: <Issuer %s> has a "
                          "certificate; for another CA give the authority another name",
                          section->name));
        return;
    }
    if (section->issuer) {
        section->certificate = gh_issuer_certificate(section->issuer);
        return;
    }
    if (!section->certificate_path) {
        fail(check, section->place,
             apr_psprintf(check->ptemp, GHNO(0727) "there is no <Issuer %s>: add OCSPCertificate "
                          "with the certificate of the CA, or correct the name", section->name));
        return;
    }
    gh_result_clear(&result);
    rv = gh_certificate_open(&section->certificate, section->certificate_path, NULL, check->p,
                             &result);
    if (rv != APR_SUCCESS) {
        section->certificate = NULL;
        fail(check, section->certificate_place, ocsp_explain(&result, rv, check->ptemp));
    }
}

/* Sources */

static const ocsp_source_line_t *find_source(const ocsp_section_t *section,
                                             ocsp_source_kind_t kind, int *count)
{
    const ocsp_source_line_t *first = NULL;
    int i;

    *count = 0;
    for (i = 0; i < section->sources->nelts; ++i) {
        const ocsp_source_line_t *line = &APR_ARRAY_IDX(section->sources, i, ocsp_source_line_t);

        if (line->config.kind == kind) {
            first = first ? first : line;
            ++*count;
        }
    }
    return first;
}

static void check_kinds(check_t *check)
{
    const ocsp_section_t *section = check->section;
    int stores, crls, lists, indexes;
    const ocsp_source_line_t *store = find_source(section, OCSP_SOURCE_STORE, &stores);
    const ocsp_source_line_t *list = find_source(section, OCSP_SOURCE_SERIALS, &lists);
    const ocsp_source_line_t *index = find_source(section, OCSP_SOURCE_INDEX, &indexes);

    find_source(section, OCSP_SOURCE_CRL, &crls);
    if (store && section->sources->nelts > 1) {
        fail(check, store->place, GHNO(0728) "OCSPSource store has all that is to be known: leave "
             "out the other OCSPSource lines, or this one");
    }
    else if (index && section->sources->nelts > 1) {
        fail(check, index->place, GHNO(0729) "OCSPSource index has all that is to be known, and "
             "stands alone");
    }
    else if (lists && !crls) {
        fail(check, list->place, GHNO(0730) "a list of serials tells nothing of revocations: add "
             "OCSPSource crl");
    }
    else if (lists > 1) {
        fail(check, list->place, GHNO(0731) "there is more than one OCSPSource serials; a CA has "
             "one list of all it has issued");
    }
    if (store && !section->issuer) {
        fail(check, store->place,
             apr_psprintf(check->ptemp, GHNO(0732) "there is no <Issuer %s> whose certificates "
                          "were in the store", section->name));
    }
}

static void check_sources(check_t *check)
{
    ocsp_section_t *section = check->section;
    ocsp_source_line_t *line;
    int i;

    if (!section->sources->nelts && section->issuer) {
        line = apr_array_push(section->sources);
        memset(line, 0, sizeof(*line));
        line->config.kind = OCSP_SOURCE_STORE;
        line->place = section->place;
    }
    if (!section->sources->nelts) {
        fail(check, section->place,
             apr_psprintf(check->ptemp, GHNO(0733) "authority %s has no OCSPSource: say where the "
                          "status of its certificates comes from, such as OCSPSource crl URL",
                          section->name));
        return;
    }
    check_kinds(check);
    section->configs = apr_array_make(check->p, section->sources->nelts,
                                      sizeof(ocsp_source_config_t));
    for (i = 0; i < section->sources->nelts; ++i) {
        APR_ARRAY_PUSH(section->configs, ocsp_source_config_t)
            = APR_ARRAY_IDX(section->sources, i, ocsp_source_line_t).config;
    }
    section->kind = ocsp_sources_kind(section->configs);
}

/* Answers */

/** OCSPStatus and what it demands (VA profiles). */
static void apply_status(check_t *check)
{
    ocsp_section_t *section = check->section;
    const ocsp_place_t *const others[] = {
        &section->unknown_place, &section->next_update_place, &section->cutoff_place
    };
    int needs_crl = 0, needs_serials = 0, crls, lists;
    apr_size_t i;

    find_source(section, OCSP_SOURCE_CRL, &crls);
    find_source(section, OCSP_SOURCE_SERIALS, &lists);
    for (i = 0; i < sizeof(others) / sizeof(others[0]); ++i) {
        if (others[i]->file) {
            fail(check, *others[i],
                 apr_psprintf(check->ptemp, GHNO(0734) "OCSPStatus %s, in line %d of %s, decides "
                              "this already; leave one of them out", section->status,
                              section->status_place.line, section->status_place.file));
        }
    }
    ocsp_policy_named(section->status, &section->policy, &needs_crl, &needs_serials);
    if (needs_crl != (crls > 0) || needs_serials != (lists > 0)) {
        fail(check, section->status_place,
             apr_psprintf(check->ptemp, GHNO(0735) "OCSPStatus %s goes with %s", section->status,
                          !needs_crl ? "OCSPSource store or OCSPSource index"
                          : needs_serials ? "OCSPSource crl and OCSPSource serials"
                                          : "OCSPSource crl alone, without OCSPSource serials"));
    }
}

/** Whether all CRLs may be answered from once they have expired: of some, the index does not have
 *  their end. */
static int serves_expired(const ocsp_section_t *section)
{
    int i, serves = 0;

    for (i = 0; i < section->configs->nelts; ++i) {
        const ocsp_source_config_t *config
            = &APR_ARRAY_IDX(section->configs, i, ocsp_source_config_t);

        if (config->kind == OCSP_SOURCE_CRL) {
            if (!config->serve_expired) {
                return 0;
            }
            serves = 1;
        }
    }
    return serves;
}

/** Of answers about serials that nobody issued. */
static void check_unknown_next_update(check_t *check)
{
    ocsp_section_t *section = check->section;
    ocsp_policy_t *policy = &section->policy;

    if (!section->unknown_next_update_place.file) {
        policy->unknown_next_update = UNKNOWN_NEXT_UPDATE;
    }
    else if (policy->unknown_next_update
             && (!policy->next_update || policy->if_unknown == OCSP_UNKNOWN_GOOD
                 || policy->if_unknown == OCSP_UNKNOWN_UNAUTHORIZED)) {
        warn(check, section->unknown_next_update_place,
             GHNO(0765) "OCSPUnknownNextUpdate has no effect: answers have no nextUpdate, or no "
             "serial number is answered unknown or revoked for want of its issue");
    }
}

static void check_policy(check_t *check)
{
    ocsp_section_t *section = check->section;
    ocsp_policy_t *policy = &section->policy;
    int complete = ocsp_sources_complete(section->configs);
    int crls;

    find_source(section, OCSP_SOURCE_CRL, &crls);
    if (section->status) {
        apply_status(check);
    }
    else {
        if (!section->unknown_place.file) {
            policy->if_unknown = complete ? OCSP_UNKNOWN_UNKNOWN : OCSP_UNKNOWN_GOOD;
        }
        if (!section->next_update_place.file) {
            policy->next_update = crls ? OCSP_NEXT_UPDATE_OF_CRL : NEXT_UPDATE;
        }
    }
    check_unknown_next_update(check);
    if (!complete && policy->if_unknown != OCSP_UNKNOWN_GOOD && !section->status) {
        warn(check, section->unknown_place,
             GHNO(0736) "a CRL does not tell which certificates were issued, so that every good "
             "one is answered like this; add OCSPSource serials, or say OCSPUnknown good");
    }
    if (complete && policy->if_unknown == OCSP_UNKNOWN_GOOD) {
        warn(check, section->unknown_place,
             GHNO(0737) "OCSPUnknown good says good of certificates that were never issued");
    }
    if (!section->max_stale_place.file) {
        policy->max_stale = crls ? 0 : MAX_STALE;
    }
    else if (!policy->max_stale && !crls) {
        warn(check, section->max_stale_place,
             GHNO(0738) "OCSPMaxStale off: while the source is out of reach, revoked certificates "
             "go on being good");
    }
    policy->serve_expired = serves_expired(section);
    if (policy->cutoff == OCSP_CUTOFF_CRL && !crls) {
        fail(check, section->cutoff_place,
             GHNO(0739) "OCSPArchiveCutoff crl takes what a CRL says; there is no OCSPSource crl");
    }
    if (section->retention && !crls) {
        fail(check, section->retention_place,
             GHNO(0740) "OCSPRetention is for OCSPSource crl: other sources tell of revocations "
             "for ever");
    }
}

/* Signers */

/** As if "OCSPSigner auto" were there, for an issuer that signs in this server. */
static void default_signers(check_t *check)
{
    static const char *const kinds[] = { "P-256", "RSA-2048" };
    ocsp_section_t *section = check->section;
    int i;

    for (i = 0; i < 2; ++i) {
        ocsp_signer_line_t *line = apr_array_push(section->signers);

        memset(line, 0, sizeof(*line));
        line->config.source = OCSP_SIGNER_AUTO;
        line->config.kind = kinds[i];
        line->profile = OCSP_SIGNER_PROFILE;
        line->place = section->place;
    }
}

static void check_auto(check_t *check, ocsp_signer_line_t *line)
{
    const ocsp_section_t *section = check->section;
    const gh_profile_t *profile = apr_hash_get(check->config->profiles, line->profile,
                                               APR_HASH_KEY_STRING);

    line->config.profile = profile;
    if (!section->issuer || !gh_issuer_backend(section->issuer)->crl_signer
        || gh_issuer_backend(section->issuer) == &gh_issuer_offline) {
        fail(check, line->place,
             GHNO(0741) "OCSPSigner auto needs an <Issuer> of the same name that signs in this "
             "server; give OCSPSigner a certificate and a key");
    }
    else if (!profile) {
        fail(check, line->place,
             apr_psprintf(check->ptemp, GHNO(0742) "OCSPSigner: there is no <CertificateProfile "
                          "%s>; include conf.d/profiles.conf or name another profile",
                          line->profile));
    }
    else if (!gh_profile_is_internal(profile)) {
        fail(check, line->place,
             apr_psprintf(check->ptemp, GHNO(0743) "OCSPSigner: profile %s is within reach of "
                          "enrolment, so that others could sign answers; add ProfileInternal on",
                          line->profile));
    }
    else if (!gh_profile_fits_ocsp(profile)) {
        fail(check, line->place,
             apr_psprintf(check->ptemp, GHNO(0749) "OCSPSigner: profile %s is not for signing "
                          "OCSP: it needs the extended key usage OCSPSigning, and digitalSignature",
                          line->profile));
    }
    else if (!gh_profile_allows_key(profile, line->config.kind)) {
        fail(check, line->place,
             apr_psprintf(check->ptemp, GHNO(0744) "OCSPSigner: profile %s does not allow keys of "
                          "kind %s", line->profile, line->config.kind));
    }
    else if (!check->config->sealing_configured) {
        fail(check, line->place,
             GHNO(0745) "GatehouseSealingKey is missing: OCSPSigner auto keeps its keys in the "
             "store, sealed. Make one with \"openssl rand -hex 32\" and add GatehouseSealingKey "
             "file:PATH");
    }
}

static void load_signers(check_t *check)
{
    ocsp_section_t *section = check->section;
    apr_array_header_t *configs = apr_array_make(check->p, section->signers->nelts,
                                                 sizeof(ocsp_signer_config_t));
    apr_array_header_t *warnings = apr_array_make(check->ptemp, 2, sizeof(const char *));
    ocsp_place_t place = APR_ARRAY_IDX(section->signers, 0, ocsp_signer_line_t).place;
    gh_result_t result;
    apr_status_t rv;
    int i;

    for (i = 0; i < section->signers->nelts; ++i) {
        const ocsp_signer_config_t *config = &APR_ARRAY_IDX(section->signers, i,
                                                            ocsp_signer_line_t).config;

        APR_ARRAY_PUSH(configs, ocsp_signer_config_t) = *config;
        if (config->source == OCSP_SIGNER_FILES && gh_key_is_token(config->key)) {
            ocsp_gatehouse()->turn_need();
        }
    }
    gh_result_clear(&result);
    section->set = ocsp_signers_create(section->name, section->certificate, section->issuer,
                                       configs, check->p);
    rv = section->set ? ocsp_signers_load(section->set, apr_time_now(), warnings, check->p,
                                          &result) : APR_ENOMEM;
    for (i = 0; i < warnings->nelts; ++i) {
        warn(check, place, APR_ARRAY_IDX(warnings, i, const char *));
    }
    if (rv != APR_SUCCESS && !ocsp_dump_problem(section, place, "OCSPSigner", &result, check->p)) {
        fail(check, place, ocsp_explain(&result, rv, check->ptemp));
    }
}

static void check_signers(check_t *check)
{
    ocsp_section_t *section = check->section;
    int i;

    if (!section->signers->nelts && section->issuer
        && gh_issuer_backend(section->issuer)->crl_signer
        && gh_issuer_backend(section->issuer) != &gh_issuer_offline) {
        default_signers(check);
    }
    if (!section->signers->nelts) {
        fail(check, section->place,
             apr_psprintf(check->ptemp, GHNO(0746) "authority %s has no OCSPSigner: give it a "
                          "certificate that the CA has issued for signing OCSP, and its key",
                          section->name));
        return;
    }
    for (i = 0; i < section->signers->nelts; ++i) {
        ocsp_signer_line_t *line = &APR_ARRAY_IDX(section->signers, i, ocsp_signer_line_t);

        if (line->config.source == OCSP_SIGNER_AUTO) {
            check_auto(check, line);
        }
    }
    if (!check->problems) {
        load_signers(check);
    }
}

static int same_ca(const X509 *one, const X509 *other)
{
    return !X509_NAME_cmp(X509_get_subject_name(one), X509_get_subject_name(other))
        && EVP_PKEY_eq(X509_get0_pubkey(one), X509_get0_pubkey(other)) == 1;
}

/** One CA, asked for by its name and key, cannot have two answers. */
static void check_twins(check_t *check)
{
    const ocsp_server_t *server = ocsp_server(check->s);
    int i;

    for (i = 0; i < server->sections->nelts; ++i) {
        const ocsp_section_t *other = APR_ARRAY_IDX(server->sections, i, ocsp_section_t *);

        if (other == check->section) {
            return;
        }
        if (other->certificate && same_ca(other->certificate, check->section->certificate)) {
            fail(check, check->section->place,
                 apr_psprintf(check->ptemp, GHNO(0747) "authority %s is for the CA of authority "
                              "%s, in line %d of %s; keep one of them", check->section->name,
                              other->name, other->place.line, other->place.file));
            return;
        }
    }
}

int ocsp_check_section(ocsp_section_t *section, server_rec *s, const gatehouse_config_t *config,
                       apr_pool_t *p, apr_pool_t *ptemp)
{
    check_t check = { section, s, config, p, ptemp, 0 };
    gh_result_t result;

    check_certificate(&check);
    if (section->certificate) {
        section->subject = gh_name_text(X509_get_subject_name(section->certificate), p);
        check_twins(&check);
    }
    check_sources(&check);
    if (section->configs) {
        check_policy(&check);
    }
    if (section->certificate) {
        check_signers(&check);
    }
    if (check.problems) {
        return check.problems;
    }
    gh_result_clear(&result);
    if (ocsp_authority_digest(section->digest, section->certificate, section->name,
                              section->configs) != APR_SUCCESS) {
        fail(&check, section->place, GHNO(0748) "the key of the CA is none that OpenSSL can write");
        return check.problems;
    }
    section->authority = ocsp_authority_create(section->name, section->certificate,
                                               &section->policy, p, &result);
    if (!section->authority) {
        fail(&check, section->place, ocsp_explain(&result, APR_EGENERAL, ptemp));
        return check.problems;
    }
    ocsp_authority_set_signers(section->authority, section->set);
    return check.problems;
}
