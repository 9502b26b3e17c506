/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_fault.h"

#include <apr_errno.h>

/** [MS-ERREF] 2.1.1. */
static const apr_uint32_t hresults[] = {
    [WSTEP_FAULT_NONE] = 0,
    [WSTEP_FAULT_MALFORMED] = 0x80070057u,
    [WSTEP_FAULT_AUTHENTICATION] = 0x8007052Eu,
    [WSTEP_FAULT_UNSUPPORTED] = 0x80070032u,
    [WSTEP_FAULT_UNAVAILABLE] = 0x800706BAu,
    [WSTEP_FAULT_INTERNAL] = 0x80004005u,
    [WSTEP_FAULT_BAD_REQUEST] = 0x8009310Bu,
    [WSTEP_FAULT_SIGNATURE] = 0x80090006u,
    [WSTEP_FAULT_SUBJECT] = 0x80094001u,
    [WSTEP_FAULT_NO_REQUEST] = 0x80094002u,
    [WSTEP_FAULT_RENEWAL] = 0x8009400Eu,
    [WSTEP_FAULT_ENROLL_DENIED] = 0x80094011u,
    [WSTEP_FAULT_TEMPLATE_DENIED] = 0x80094012u,
    [WSTEP_FAULT_DENIED] = 0x80094014u,
    [WSTEP_FAULT_TEMPLATE_UNKNOWN] = 0x80094800u,
    [WSTEP_FAULT_TEMPLATE_MISSING] = 0x80094801u,
    [WSTEP_FAULT_TEMPLATE_CONFLICT] = 0x80094802u,
    [WSTEP_FAULT_TEMPLATE_VERSION] = 0x80094807u,
    [WSTEP_FAULT_SUBJECT_MISMATCH] = 0x80094806u,
    [WSTEP_FAULT_NO_UPN] = 0x8009480Du,
    [WSTEP_FAULT_NO_DNS] = 0x8009480Fu,
    [WSTEP_FAULT_NO_MAIL] = 0x80094812u,
    [WSTEP_FAULT_KEY_LENGTH] = 0x80094811u,
    [WSTEP_FAULT_SIGNATURE_POLICY] = 0x80094809u,
    [WSTEP_FAULT_ARCHIVED_KEY] = 0x80094804u
};

apr_int32_t wstep_fault_hresult(wstep_fault_kind_t kind)
{
    return (apr_int32_t)hresults[kind];
}

int wstep_fault_is_senders(wstep_fault_kind_t kind)
{
    return kind != WSTEP_FAULT_UNAVAILABLE && kind != WSTEP_FAULT_INTERNAL;
}

wstep_fault_kind_t wstep_fault_of(const gh_result_t *result)
{
    switch (result->failure) {
    case GH_FAILURE_MALFORMED:
        return WSTEP_FAULT_MALFORMED;
    case GH_FAILURE_UNAVAILABLE:
        return WSTEP_FAULT_UNAVAILABLE;
    case GH_FAILURE_INTEGRITY:
        return WSTEP_FAULT_SIGNATURE;
    case GH_FAILURE_TIME:
        return WSTEP_FAULT_AUTHENTICATION;
    case GH_FAILURE_NOT_FOUND:
        return WSTEP_FAULT_NO_REQUEST;
    case GH_FAILURE_REQUEST:
    case GH_FAILURE_ALGORITHM:
    case GH_FAILURE_DENIED:
    case GH_FAILURE_CONFLICT:
        return WSTEP_FAULT_DENIED;
    default:
        return WSTEP_FAULT_INTERNAL;
    }
}
