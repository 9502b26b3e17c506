/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The web service for device management: challenges, also those that renew. */

#include "mod_scep/scep_mdm.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>

#include "log.h"

APLOG_USE_MODULE(scep);

static apr_status_t store_request(gh_transaction_t *transaction, void *baton, const char *id,
                                  apr_time_t expires)
{
    gh_mdm_request_record_t *record = baton;

    record->id = id;
    record->expires = expires;
    return gh_mdm_request_insert(transaction, record);
}

/** Makes a challenge for the names of a record, whose digital ID was chosen. */
static int make_challenge(scep_mdm_t *m, gh_mdm_request_record_t *record, apr_array_header_t *sans,
                          apr_interval_time_t lifetime)
{
    const scep_digital_t *digital = m->w.digital;
    gh_challenge_spec_t spec;
    gh_challenge_made_t made;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    memset(&spec, 0, sizeof(spec));
    record->mode = "scep";
    record->tenant = digital->tenant;
    record->digital_id = digital->name;
    record->requester = m->w.user;
    record->created = apr_time_now();
    spec.set = digital->set;
    spec.tenant = digital->tenant;
    spec.issuer = digital->issuer;
    spec.profile = gh_profile_name(digital->certificate_profile);
    spec.subject = record->subject;
    spec.sans = sans;
    spec.lifetime = lifetime && lifetime < digital->lifetime ? lifetime : digital->lifetime;
    spec.node = m->w.service->node;
    spec.actor = m->w.user;
    spec.protocol = m->w.protocol;
    spec.request_id = scep_web_event(&m->w)->id;
    spec.client = m->w.r->useragent_ip;
    spec.also = store_request;
    spec.also_baton = record;
    scep_web_begin_work(&m->w);
    rv = gh_challenge_new(m->w.service->store, &spec, &made, m->p, &result);
    scep_web_end_work();
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    return scep_web_json(m->w.r, HTTP_CREATED,
                         json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s*}", "id", made.id,
                                   "challenge", made.challenge, "url", scep_mdm_url(m, digital),
                                   "expires", gh_time_text(m->p, made.expires), "subject",
                                   record->subject, "subjectAltNames",
                                   scep_mdm_sans(record->sans), "caFingerprint",
                                   scep_digital_fingerprint(digital, m->p)));
}

int scep_mdm_challenge(scep_mdm_t *m)
{
    gh_mdm_request_record_t record;
    apr_array_header_t *sans;
    scep_mdm_wish_t wish;
    gh_result_t result;
    apr_status_t rv;
    int answered = scep_mdm_read(m, SCEP_MDM_DIGITAL_ID | SCEP_MDM_VARIABLES | SCEP_MDM_DEVICE
                                 | SCEP_MDM_EXPIRES, &wish);

    if (answered == OK) {
        answered = scep_mdm_choose(m, wish.digital_id, SCEP_DIGITAL_SCEP);
    }
    if (answered != OK) {
        return answered;
    }
    gh_result_clear(&result);
    memset(&record, 0, sizeof(record));
    record.device = wish.device;
    rv = scep_digital_make(&record.subject, &sans, &record.sans, m->w.digital, wish.values, m->p,
                           &result);
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    return make_challenge(m, &record, sans, wish.lifetime);
}

/** The names stay; who wants others asks for a new challenge. */
int scep_mdm_renew(scep_mdm_t *m, const gh_mdm_request_record_t *before)
{
    apr_array_header_t *sans = apr_array_make(m->p, 2, sizeof(const char *));
    gh_mdm_request_record_t record;
    scep_mdm_wish_t wish;
    json_t *said;
    size_t i;
    int answered = scep_mdm_read(m, SCEP_MDM_EXPIRES, &wish);

    if (answered == OK) {
        answered = scep_mdm_choose(m, before->digital_id, SCEP_DIGITAL_SCEP);
    }
    if (answered != OK) {
        return answered;
    }
    memset(&record, 0, sizeof(record));
    record.subject = before->subject;
    record.sans = before->sans;
    record.device = before->device;
    said = scep_mdm_sans(before->sans);
    for (i = 0; i < json_array_size(said); ++i) {
        APR_ARRAY_PUSH(sans, const char *) =
            apr_pstrdup(m->p, json_string_value(json_array_get(said, i)));
    }
    json_decref(said);
    return make_challenge(m, &record, sans, wish.lifetime);
}
