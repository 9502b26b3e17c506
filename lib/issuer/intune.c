/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/intune.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "x509/csr.h"

#define RULE "challenge.intune"

const gh_intune_code_t *gh_intune_code(const char *name)
{
    static const gh_intune_code_t codes[] = {
        { "Success", GH_FAILURE_NONE, "the request is permitted" },
        { "Unknown", GH_FAILURE_REQUEST, "an unknown error" },
        { "CertificateRequestDecodingFailed", GH_FAILURE_INTEGRITY,
          "the request cannot be decoded" },
        { "ChallengePasswordMissing", GH_FAILURE_REQUEST, "the request has no challenge" },
        { "ChallengeDeserializationError", GH_FAILURE_INTEGRITY,
          "the challenge cannot be read" },
        { "ChallengeDecryptionError", GH_FAILURE_INTEGRITY,
          "the challenge cannot be decrypted: it was made for another tenant, or changed" },
        { "ChallengeDecodingError", GH_FAILURE_INTEGRITY, "the challenge is none of Intune's" },
        { "ChallengeInvalidTimestamp", GH_FAILURE_TIME, "the time of the challenge is not valid" },
        { "ChallengeExpired", GH_FAILURE_TIME,
          "the challenge has expired; the device gets another one when it syncs" },
        { "SubjectNameMissing", GH_FAILURE_REQUEST, "the request has no subject" },
        { "SubjectNameMismatch", GH_FAILURE_REQUEST,
          "the subject is not that of the SCEP profile" },
        { "SubjectAltNameMissing", GH_FAILURE_REQUEST, "the request has no alternative names" },
        { "SubjectAltNameMismatch", GH_FAILURE_REQUEST,
          "the alternative names are not those of the SCEP profile" },
        { "KeyUsageMismatch", GH_FAILURE_REQUEST,
          "the key usage is not that of the SCEP profile" },
        { "KeyLengthMismatch", GH_FAILURE_REQUEST,
          "the size of the key is not that of the SCEP profile" },
        { "EnhancedKeyUsageMissing", GH_FAILURE_REQUEST,
          "the request has no extended key usage" },
        { "EnhancedKeyUsageMismatch", GH_FAILURE_REQUEST,
          "the extended key usage is not that of the SCEP profile" },
        { "AadKeyIdentifierListMissing", GH_FAILURE_REQUEST,
          "the list of key identifiers is missing" },
        { "RegisteredKeyMismatch", GH_FAILURE_REQUEST,
          "the key is not the one that is registered" },
        { "SigningCertThumbprintMismatch", GH_FAILURE_INTEGRITY,
          "the challenge was signed with another certificate" },
        { "ScepProfileNoLongerTargetedToTheClient", GH_FAILURE_REQUEST,
          "the SCEP profile is not assigned to the device any more" },
        { "SignatureValidationFailed", GH_FAILURE_INTEGRITY,
          "the signature of the challenge is not valid" },
        { "BadCertificateRequestIdInChallenge", GH_FAILURE_REQUEST,
          "the challenge names no request that Intune knows" },
        { "BadDeviceIdInChallenge", GH_FAILURE_REQUEST,
          "the challenge names no device that Intune knows" },
        { "BadUserIdInChallenge", GH_FAILURE_REQUEST,
          "the challenge names no user that Intune knows" }
    };
    apr_size_t i;

    for (i = 0; name && i < sizeof(codes) / sizeof(codes[0]); ++i) {
        if (!strcmp(codes[i].name, name)) {
            return &codes[i];
        }
    }
    return NULL;
}

gh_failure_t gh_intune_failure(const char *reason)
{
    static const char says[] = GH_INTUNE_SAYS;
    const gh_intune_code_t *code;
    char name[64];
    apr_size_t length;

    if (!reason || strncmp(reason, says, sizeof(says) - 1)) {
        return GH_FAILURE_REQUEST;
    }
    reason += sizeof(says) - 1;
    length = strcspn(reason, ":");
    if (length >= sizeof(name)) {
        return GH_FAILURE_REQUEST;
    }
    memcpy(name, reason, length);
    name[length] = '\0';
    code = gh_intune_code(name);
    return code && code->failure != GH_FAILURE_NONE ? code->failure : GH_FAILURE_REQUEST;
}

typedef struct {
    const char *queue;
    apr_interval_time_t patience;
} intune_t;

/** Intune itself takes SHA-2 alone, whatever the location accepts. */
static int is_weak(const char *algorithm)
{
    return algorithm && (strcasestr(algorithm, "sha1") || strcasestr(algorithm, "sha-1")
                         || strcasestr(algorithm, "md5"));
}

static apr_status_t check(const gh_authoriser_t *authoriser, gh_store_t *store,
                          const gh_enrolment_request_t *request, gh_grant_t *grant, apr_pool_t *p,
                          gh_result_t *result)
{
    const intune_t *intune = authoriser->data;

    if (!request->challenge || !*request->challenge) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                              "Let the request come from a device with a SCEP profile of Intune.",
                              GHNO(0922) "the request has no challenge of Intune");
    }
    if (is_weak(gh_csr_signature_algorithm(request->csr))) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, RULE,
                              "Choose SHA-2 as hash algorithm in the SCEP profile of Intune.",
                              GHNO(0923) "the request is signed with %s",
                              gh_csr_signature_algorithm(request->csr));
    }
    grant->rule = RULE;
    grant->question.kind = GH_INTUNE;
    grant->question.queue = intune->queue;
    grant->question.confirm = 1;
    grant->question.patience = intune->patience;
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_intune(const char *name, apr_interval_time_t patience,
                                      apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));
    intune_t *intune = apr_palloc(p, sizeof(*intune));

    intune->queue = apr_pstrcat(p, GH_INTUNE_QUEUE, name, NULL);
    intune->patience = patience;
    authoriser->name = GH_INTUNE;
    authoriser->data = intune;
    authoriser->check = check;
    return authoriser;
}
