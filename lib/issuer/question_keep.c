/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Questions on the ledger's side: how they are kept with the row, and the jobs that they become. */

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "issuer/ledger_private.h"
#include "issuer/question.h"
#include "log.h"
#include "status.h"

/** How long is tried if nobody says. */
#define PATIENCE apr_time_from_sec(24 * 3600)

apr_status_t gh_ledger_keep_question(const char **text, const gh_kept_question_t *kept,
                                     apr_pool_t *p, gh_result_t *result)
{
    const gh_question_t *question = &kept->question;
    json_t *json = json_pack("{s:s, s:s, s:b, s:I, s:b, s:I}", "kind", question->kind, "queue",
                             question->queue, "confirm", question->confirm, "patience",
                             (json_int_t)question->patience, "approval", kept->approval,
                             "deadline", (json_int_t)kept->patience);
    char *made = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    *text = made ? apr_pstrdup(p, made) : NULL;
    free(made);
    if (!*text) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, "question",
                              "See whether the machine is short of memory.",
                              GHNO(0888) "whom to ask about the enrolment cannot be noted");
    }
    return APR_SUCCESS;
}

apr_status_t gh_ledger_take_question(gh_kept_question_t *kept, const gh_enrolment_record_t *record,
                                     apr_pool_t *p, gh_result_t *result)
{
    json_t *json = record->question ? json_loads(record->question, 0, NULL) : NULL;
    const char *kind = NULL, *queue = NULL;
    json_int_t patience, deadline;
    apr_status_t rv = APR_SUCCESS;

    memset(kept, 0, sizeof(*kept));
    if (!json || json_unpack(json, "{s:s, s:s, s:b, s:I, s:b, s:I}", "kind", &kind, "queue", &queue,
                             "confirm", &kept->question.confirm, "patience", &patience, "approval",
                             &kept->approval, "deadline", &deadline)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "question",
                            "Cancel it with gatehousectl enrolment cancel, and let the device ask "
                            "again.",
                            GHNO(0889) "whom to ask about enrolment %s cannot be read",
                            record->id);
    }
    else {
        kept->question.kind = apr_pstrdup(p, kind);
        kept->question.queue = apr_pstrdup(p, queue);
        kept->question.patience = patience;
        kept->patience = deadline;
    }
    json_decref(json);
    return rv;
}

static apr_status_t add_job(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                            const gh_question_t *question, const char *stage, gh_bytes_t payload,
                            apr_time_t now, apr_pool_t *p)
{
    gh_job_record_t job = {
        .id = record->id, .kind = apr_pstrcat(p, stage, question->kind, NULL),
        .queue = question->queue, .subject = record->id, .payload = payload, .created = now,
        .due = now, .deadline = now + (question->patience ? question->patience : PATIENCE)
    };

    return gh_job_insert(transaction, &job);
}

apr_status_t gh_ledger_ask(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                           apr_time_t now, apr_pool_t *p)
{
    gh_bytes_t none = { NULL, 0 };
    gh_kept_question_t kept;
    apr_status_t rv = gh_ledger_take_question(&kept, record, p, NULL);

    return rv == APR_SUCCESS
        ? add_job(transaction, record, &kept.question, GH_QUESTION_ASK, none, now, p) : rv;
}

int gh_question_was_of(const gh_enrolment_record_t *record, const char *queue, apr_pool_t *p)
{
    gh_kept_question_t kept;

    return record->question
        && gh_ledger_take_question(&kept, record, p, NULL) == APR_SUCCESS
        && !strcmp(kept.question.queue, queue);
}

int gh_ledger_confirms(const gh_enrolment_record_t *record, apr_pool_t *p)
{
    gh_kept_question_t kept;

    /* one that cannot be read is not handed out either */
    return record->question
        && (gh_ledger_take_question(&kept, record, p, NULL) != APR_SUCCESS
            || kept.question.confirm);
}

apr_status_t gh_ledger_confirm(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                               apr_time_t now, apr_pool_t *p)
{
    gh_bytes_t none = { NULL, 0 };
    gh_kept_question_t kept;
    apr_status_t rv;

    if (!gh_ledger_confirms(record, p)) {
        return APR_SUCCESS;
    }
    rv = gh_ledger_take_question(&kept, record, p, NULL);
    return rv == APR_SUCCESS
        ? add_job(transaction, record, &kept.question, GH_QUESTION_CONFIRM, none, now, p) : rv;
}

/* The request goes with the job: that of a row that is over is erased. */
apr_status_t gh_ledger_tell_failed(gh_transaction_t *transaction,
                                   const gh_enrolment_record_t *record, apr_time_t now,
                                   apr_pool_t *p)
{
    gh_kept_question_t kept;

    if (!record->question || gh_ledger_take_question(&kept, record, p, NULL) != APR_SUCCESS
        || !kept.question.confirm) {
        return APR_SUCCESS;
    }
    return add_job(transaction, record, &kept.question, GH_QUESTION_FAILED, record->request, now,
                   p);
}
