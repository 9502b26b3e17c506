/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The directives of <CertificateProfile>: one parser, wherever they are read from. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "x509/name_attributes.h"
#include "x509/profile_rules.h"
#include "x509/usages.h"

#define VALIDITY_MAX    (apr_time_from_sec(86400) * 365 * 100)
#define LIST_MAX        64

/** The arguments of one directive. */
typedef struct {
    int argc;
    const char *const *argv;
    apr_pool_t *p;
} arguments_t;

/** @return what is wrong, or NULL */
typedef const char *setter_t(gh_profile_t *profile, const arguments_t *arguments);

static int is_word(const arguments_t *arguments, int i, const char *word)
{
    return i < arguments->argc && strcasecmp(arguments->argv[i], word) == 0;
}

/** The only argument is this word. */
static int only(const arguments_t *arguments, const char *word)
{
    return arguments->argc == 1 && is_word(arguments, 0, word);
}

static const char *set_choice(int *flag, const arguments_t *arguments, const char *off,
                              const char *on)
{
    if (only(arguments, on))
        *flag = 1;
    else if (only(arguments, off))
        *flag = 0;
    else
        return apr_psprintf(arguments->p, "it is either %s or %s", off, on);
    return NULL;
}

static const char *set_alias(gh_profile_t *profile, const arguments_t *arguments)
{
    int i;

    for (i = 0; i < arguments->argc; i++) {
        if (!gh_name_valid(arguments->argv[i]))
            return apr_psprintf(arguments->p, "\"%s\" is not a valid name", arguments->argv[i]);
        APR_ARRAY_PUSH(profile->aliases, const char *) =
            apr_pstrdup(arguments->p, arguments->argv[i]);
    }
    return i > 0 ? NULL : "a name is missing";
}

static const char *set_key_usage(gh_profile_t *profile, const arguments_t *arguments)
{
    unsigned int usage = 0;
    int i;

    if (!only(arguments, "none")) {
        for (i = 0; i < arguments->argc; i++) {
            unsigned int bit = gh_usage_bit(arguments->argv[i]);

            if (bit == 0)
                return apr_psprintf(arguments->p, "there is no key usage \"%s\"",
                                    arguments->argv[i]);
            usage |= bit;
        }
        if (usage == 0)
            return "a key usage or \"none\" is missing";
    }
    profile->key_usage = usage;
    profile->key_usage_given = 1;
    return NULL;
}

static const char *set_eku(gh_profile_t *profile, const arguments_t *arguments)
{
    apr_array_header_t *list = apr_array_make(arguments->p, 4, sizeof(const char *));
    gh_eku_mode_t mode = GH_EKU_NONE;
    int i, critical = 0, none = 0;

    for (i = 0; i < arguments->argc; i++) {
        const char *oid;

        if (is_word(arguments, i, "critical")) {
            critical = 1;
        }
        else if (is_word(arguments, i, "none")) {
            none = 1;
        }
        else if (is_word(arguments, i, "request")) {
            mode = GH_EKU_REQUEST;
        }
        else {
            oid = gh_eku_oid(arguments->argv[i], arguments->p);
            if (oid == NULL)
                return apr_psprintf(arguments->p, "there is no extended key usage \"%s\"",
                                    arguments->argv[i]);
            if (!gh_texts_contain(list, oid))
                APR_ARRAY_PUSH(list, const char *) = oid;
        }
    }
    if ((list->nelts > 0) + none + (mode == GH_EKU_REQUEST) != 1)
        return "give usages, or \"request\", or \"none\"";
    if (critical && none)
        return "\"critical\" needs a usage";
    profile->eku_mode = list->nelts > 0 ? GH_EKU_FIXED : mode;
    profile->eku = list;
    profile->eku_critical = critical;
    return NULL;
}

static const char *set_request_extensions(gh_profile_t *profile, const arguments_t *arguments)
{
    apr_array_header_t *list = apr_array_make(arguments->p, 4, sizeof(const char *));
    int i;

    for (i = 0; i < arguments->argc && !only(arguments, "none"); i++) {
        const char *oid = gh_request_extension_oid(arguments->argv[i], arguments->p);

        if (oid == NULL)
            return apr_psprintf(arguments->p, "\"%s\" is no extension that can be taken from a "
                                "request", arguments->argv[i]);
        if (!gh_texts_contain(list, oid))
            APR_ARRAY_PUSH(list, const char *) = oid;
    }
    if (arguments->argc == 0)
        return "an extension or \"none\" is missing";
    profile->request_extensions = list;
    return NULL;
}

static const char *set_unlisted(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->strip_unlisted, arguments, "refuse", "strip");
}

static const char *set_keys(gh_profile_t *profile, const arguments_t *arguments)
{
    unsigned int keys = 0;
    int i, j;

    for (i = 0; i < arguments->argc; i++) {
        for (j = 0; gh_profile_key_kinds[j] != NULL; j++) {
            if (is_word(arguments, i, gh_profile_key_kinds[j]))
                break;
        }
        if (gh_profile_key_kinds[j] == NULL)
            return apr_psprintf(arguments->p, "there is no kind of key \"%s\"",
                                arguments->argv[i]);
        keys |= 1u << j;
    }
    if (keys == 0)
        return "a kind of key is missing";
    profile->keys = keys;
    return NULL;
}

static const char *set_validity(gh_profile_t *profile, const arguments_t *arguments)
{
    apr_interval_time_t validity;

    if (arguments->argc != 1 || gh_duration_parse(&validity, arguments->argv[0]) != APR_SUCCESS
        || validity < apr_time_from_sec(1) || validity > VALIDITY_MAX)
        return "give one duration such as 365d, of at most 100 years";
    profile->validity = validity;
    return NULL;
}

static const char *set_basic_constraints(gh_profile_t *profile, const arguments_t *arguments)
{
    int path_length = -1;

    if (only(arguments, "leaf")) {
        profile->ca = 0;
        profile->path_length = -1;
        return NULL;
    }
    if (arguments->argc < 1 || arguments->argc > 2 || !is_word(arguments, 0, "ca"))
        return "it is either \"leaf\" or \"ca\", the latter perhaps with pathlen=N";
    if (arguments->argc == 2) {
        const char *number = arguments->argv[1] + 8;

        if (strncasecmp(arguments->argv[1], "pathlen=", 8) != 0 || *number == '\0'
            || strlen(number) > 2 || strspn(number, "0123456789") != strlen(number))
            return "pathlen is a number from 0 to 99";
        path_length = number[1] == '\0' ? number[0] - '0'
            : (number[0] - '0') * 10 + number[1] - '0';
    }
    profile->ca = 1;
    profile->path_length = path_length;
    return NULL;
}

static const char *set_policies(gh_profile_t *profile, const arguments_t *arguments)
{
    apr_array_header_t *list = apr_array_make(arguments->p, 4, sizeof(const char *));
    int i;

    for (i = 0; i < arguments->argc && !only(arguments, "none"); i++) {
        if (!gh_oid_valid(arguments->argv[i]))
            return apr_psprintf(arguments->p, "\"%s\" is not a dotted OID", arguments->argv[i]);
        if (!gh_texts_contain(list, arguments->argv[i]))
            APR_ARRAY_PUSH(list, const char *) = apr_pstrdup(arguments->p, arguments->argv[i]);
    }
    if (arguments->argc == 0)
        return "a policy or \"none\" is missing";
    profile->policies = list;
    return NULL;
}

static const char *set_no_check(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->ocsp_no_check, arguments, "off", "on");
}

/** Reads attribute names from argument 1 on. @return NULL with error set */
static apr_array_header_t *attribute_list(const arguments_t *arguments, const char **error)
{
    apr_array_header_t *list = apr_array_make(arguments->p, 4, sizeof(const char *));
    int i;

    *error = NULL;
    for (i = 1; i < arguments->argc; i++) {
        const gh_attribute_t *attribute = gh_attribute_by_alias(arguments->argv[i]);

        if (attribute == NULL && !gh_oid_valid(arguments->argv[i])) {
            *error = apr_psprintf(arguments->p, "there is no subject attribute \"%s\"",
                                  arguments->argv[i]);
            return NULL;
        }
        APR_ARRAY_PUSH(list, const char *) =
            attribute != NULL ? attribute->oid : apr_pstrdup(arguments->p, arguments->argv[i]);
    }
    if (list->nelts == 0)
        *error = "a subject attribute is missing";
    return list->nelts > 0 ? list : NULL;
}

/** The rule that is to be set: the one of the same attribute or type, or a new one. */
static gh_set_rule_t *rule_for(apr_array_header_t *rules, const char *oid, gh_san_type_t type)
{
    gh_set_rule_t *rule;
    int i;

    for (i = 0; i < rules->nelts; i++) {
        rule = &APR_ARRAY_IDX(rules, i, gh_set_rule_t);
        if (rule->type == type && (oid == NULL || strcmp(rule->oid, oid) == 0))
            return rule;
    }
    rule = apr_array_push(rules);
    rule->oid = oid;
    rule->type = type;
    return rule;
}

static const char *set_subject_value(gh_profile_t *profile, const arguments_t *arguments)
{
    const gh_attribute_t *attribute;

    if (arguments->argc != 3 || arguments->argv[2][0] == '\0')
        return "\"set\" wants an attribute and an expression";
    attribute = gh_attribute_by_alias(arguments->argv[1]);
    if (attribute == NULL && !gh_oid_valid(arguments->argv[1]))
        return apr_psprintf(arguments->p, "there is no subject attribute \"%s\"",
                            arguments->argv[1]);
    rule_for(profile->subject.set,
             attribute != NULL ? attribute->oid : apr_pstrdup(arguments->p, arguments->argv[1]),
             GH_SAN_TYPES)->expression = apr_pstrdup(arguments->p, arguments->argv[2]);
    return NULL;
}

static const char *set_subject(gh_profile_t *profile, const arguments_t *arguments)
{
    gh_subject_rules_t *rules = &profile->subject;
    const char *error = NULL;
    int all = arguments->argc == 2 && strcmp(arguments->argv[1], "*") == 0;
    int none = arguments->argc == 2 && is_word(arguments, 1, "none");

    if (is_word(arguments, 0, "take")) {
        if (!all && !none)
            rules->take = attribute_list(arguments, &error);
        else
            rules->take = apr_array_make(arguments->p, 1, sizeof(const char *));
        rules->take_all = all;
    }
    else if (is_word(arguments, 0, "require")) {
        if (none)
            rules->require = apr_array_make(arguments->p, 1, sizeof(const char *));
        else
            rules->require = attribute_list(arguments, &error);
    }
    else if (is_word(arguments, 0, "set")) {
        error = set_subject_value(profile, arguments);
    }
    else if (is_word(arguments, 0, "template") && arguments->argc == 2) {
        rules->template = none ? NULL : apr_pstrdup(arguments->p, arguments->argv[1]);
        if (!none)
            error = gh_profile_check_template(rules->template, arguments->p);
    }
    else if (only(arguments, "reset")) {
        gh_profile_reset_subject(profile, arguments->p);
    }
    else {
        error = "it begins with take, require, set, template or reset";
    }
    return error;
}

/** Reads types of names from argument 1 on. */
static const char *type_list(unsigned int *types, const arguments_t *arguments)
{
    int i;

    *types = 0;
    if (arguments->argc == 2 && strcmp(arguments->argv[1], "*") == 0) {
        *types = (1u << GH_SAN_TYPES) - 1;
        return NULL;
    }
    if (arguments->argc == 2 && is_word(arguments, 1, "none"))
        return NULL;
    for (i = 1; i < arguments->argc; i++) {
        gh_san_type_t type = gh_san_type_parse(arguments->argv[i]);

        if (type == GH_SAN_TYPES)
            return apr_psprintf(arguments->p, "there is no type of name \"%s\"",
                                arguments->argv[i]);
        *types |= 1u << type;
    }
    return *types != 0 ? NULL : "a type of name is missing";
}

static const char *set_san(gh_profile_t *profile, const arguments_t *arguments)
{
    gh_san_rules_t *rules = &profile->san;
    gh_san_type_t type;

    if (is_word(arguments, 0, "take"))
        return type_list(&rules->take, arguments);
    if (is_word(arguments, 0, "require")) {
        if (arguments->argc == 2 && strcmp(arguments->argv[1], "*") == 0)
            return "\"require\" wants types of names";
        return type_list(&rules->require, arguments);
    }
    if (only(arguments, "from-cn")) {
        rules->from_cn = 1;
        return NULL;
    }
    if (only(arguments, "reset")) {
        gh_profile_reset_san(profile, arguments->p);
        return NULL;
    }
    if (!is_word(arguments, 0, "set"))
        return "it begins with take, require, set, from-cn or reset";
    if (arguments->argc != 3 || arguments->argv[2][0] == '\0')
        return "\"set\" wants a type of name and an expression";
    type = gh_san_type_parse(arguments->argv[1]);
    if (type == GH_SAN_TYPES || type == GH_SAN_OTHER)
        return apr_psprintf(arguments->p, "a name of type \"%s\" cannot be set",
                            arguments->argv[1]);
    rule_for(rules->set, NULL, type)->expression = apr_pstrdup(arguments->p, arguments->argv[2]);
    return NULL;
}

static const char *set_approval(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->approval, arguments, "automatic", "manual");
}

static const char *set_modes(gh_profile_t *profile, const arguments_t *arguments)
{
    unsigned int modes = 0;
    int i;

    for (i = 0; i < arguments->argc; i++) {
        if (is_word(arguments, i, "csr"))
            modes |= GH_MODE_CSR;
        else if (is_word(arguments, i, "p12"))
            modes |= GH_MODE_P12;
        else
            return "modes are csr and p12";
    }
    if (modes == 0)
        return "a mode is missing";
    profile->modes = modes;
    return NULL;
}

static const char *set_internal(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->internal, arguments, "off", "on");
}

static const char *set_mapping(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->strict, arguments, "lenient", "strict");
}

static const char *set_requested_usage(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->match_usage, arguments, "ignore", "match");
}

static const char *set_locations(gh_profile_t *profile, const arguments_t *arguments)
{
    return set_choice(&profile->no_locations, arguments, "on", "off");
}

/* In the order of the manual; setters stand in the same order. */
static const gh_profile_directive_t directives[] = {
    { "ProfileAlias", "NAME... - other names that mean this profile" },
    { "ProfileKeyUsage", "BIT...|none - digitalSignature, nonRepudiation, keyEncipherment, "
      "dataEncipherment, keyAgreement, keyCertSign, cRLSign" },
    { "ProfileKeyUsageMapping", "lenient|strict - whether usages that do not fit the kind of key "
      "are mapped or refused" },
    { "ProfileExtendedKeyUsage", "EKU...|request|none [critical] - names or dotted OIDs" },
    { "ProfileRequestExtensions", "EXTENSION...|none - what is taken from requests: "
      "certificatePolicies, applicationPolicies, smimeCapabilities, certificateTemplate, "
      "certificateTemplateName, sid, pivInterim, or dotted OIDs" },
    { "ProfileUnlistedExtensions", "refuse|strip - what happens to others" },
    { "ProfileKeys", "KIND... - RSA-2048, RSA-3072, RSA-4096, P-256, P-384, P-521" },
    { "ProfileValidity", "DURATION - longest life, such as 365d; never past the CA's own end" },
    { "ProfileBasicConstraints", "leaf|ca [pathlen=N]" },
    { "ProfilePolicies", "OID...|none - certificatePolicies that every certificate gets" },
    { "ProfileOCSPNoCheck", "off|on - id-pkix-ocsp-nocheck, for OCSP signers" },
    { "ProfileSubject", "take ATTRIBUTE...|*|none, require ATTRIBUTE...|none, set ATTRIBUTE "
      "EXPRESSION, template TEXT|none, or reset" },
    { "ProfileSubjectAltName", "take TYPE...|*|none, require TYPE...|none, set TYPE EXPRESSION, "
      "from-cn, or reset - types dns, email, ip, uri, dirname, rid, upn, other" },
    { "ProfileApproval", "automatic|manual - whether an operator decides" },
    { "ProfileModes", "csr [p12] - whether keys may be made by the server" },
    { "ProfileInternal", "off|on - for the CA's own use: no protocol can reach it" },
    { "ProfileRequestedKeyUsage", "ignore|match - whether a request that asks for another keyUsage "
      "than the profile gives is refused" },
    { "ProfileLocations", "on|off - whether certificates say where CRL, OCSP responder and the "
      "issuer's certificate are" },
    { NULL, NULL }
};

static setter_t *const setters[] = {
    set_alias, set_key_usage, set_mapping, set_eku, set_request_extensions, set_unlisted, set_keys,
    set_validity, set_basic_constraints, set_policies, set_no_check, set_subject, set_san,
    set_approval, set_modes, set_internal, set_requested_usage, set_locations
};

_Static_assert(sizeof(setters) / sizeof(setters[0]) + 1
               == sizeof(directives) / sizeof(directives[0]), "one setter for each directive");

const gh_profile_directive_t *gh_profile_directives(void)
{
    return directives;
}

apr_status_t gh_profile_set(gh_profile_t *profile, const char *directive, int argc,
                            const char *const *argv, apr_pool_t *p, gh_result_t *result)
{
    arguments_t arguments = { argc, argv, p };
    const char *error;
    int i;

    for (i = 0; directives[i].name != NULL; i++) {
        if (strcasecmp(directives[i].name, directive) == 0)
            break;
    }
    if (directives[i].name == NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "profile.directive",
                              "correct the spelling; the manual lists all directives",
                              GHNO(0136) "there is no profile directive %s", directive);
    profile->complete = 0;
    error = argc > LIST_MAX ? "too many arguments" : setters[i](profile, &arguments);
    if (error != NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "profile.directive",
                              directives[i].usage, GHNO(0137) "profile %s: %s: %s", profile->name,
                              directives[i].name, error);
    return APR_SUCCESS;
}
