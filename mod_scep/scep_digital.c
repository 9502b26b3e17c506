/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_digital.h"

#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_scep/scep_url.h"
#include "status.h"
#include "x509/name.h"
#include "x509/san.h"
#include "x509/template.h"

#define SHORTEST        4
#define LONGEST        64
#define VARIABLE_MAX    64
/* gh_name_text() cuts longer ones, and a cut name is another name */
#define SUBJECT_MAX     1020

int scep_digital_name_valid(const char *name)
{
    apr_size_t length = strlen(name);
    apr_size_t i;

    for (i = 0; i < length; ++i) {
        if ((unsigned char)name[i] > 0x7e
            || (!apr_isalnum(name[i]) && !strchr("_- ", name[i]))) {
            return 0;
        }
    }
    return length >= SHORTEST && length <= LONGEST && name[0] != ' ' && name[length - 1] != ' ';
}

const char *scep_digital_path(const char *tenant, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, SCEP_URL_ROOT "/", tenant, "/", name, "/" SCEP_URL_MDM, NULL);
}

const char *scep_digital_set(const char *name, apr_pool_t *p)
{
    /* names of sets that people configure have no colon */
    return apr_pstrcat(p, "mdm:", name, NULL);
}

const char *scep_digital_fingerprint(const scep_digital_t *digital, apr_pool_t *p)
{
    gh_bytes_t der = gh_issuer_certificate_der(gh_issuer_at(digital->ca, apr_time_now()));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;

    return der.length && EVP_Digest(der.data, der.length, digest, &length, EVP_sha256(), NULL) == 1
               ? gh_hex(p, digest, length) : NULL;
}

/* Placeholders: NAME, NAME:upper, NAME:lower, with :default=TEXT behind it */

typedef struct {
    const char *name;
    int upper;
    int lower;
    const char *preset;             /* NULL: none */
} placeholder_t;

static int is_variable(const char *name)
{
    apr_size_t length = strlen(name);

    return length >= 1 && length <= VARIABLE_MAX
           && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
              == length;
}

/** @return 0 if it cannot be understood */
static int read_placeholder(placeholder_t *placeholder, const char *text, apr_pool_t *p)
{
    const char *preset = strstr(text, ":default=");
    char *rest = preset ? apr_pstrmemdup(p, text, (apr_size_t)(preset - text))
                        : apr_pstrdup(p, text);
    char *function = strchr(rest, ':');

    memset(placeholder, 0, sizeof(*placeholder));
    if (preset) {
        placeholder->preset = preset + strlen(":default=");
        if (!*placeholder->preset) {
            return 0;
        }
    }
    if (function) {
        *function++ = '\0';
        placeholder->upper = !strcmp(function, "upper");
        placeholder->lower = !strcmp(function, "lower");
        if (!placeholder->upper && !placeholder->lower) {
            return 0;
        }
    }
    placeholder->name = rest;
    return is_variable(rest);
}

static const char *changed(const placeholder_t *placeholder, const char *value, apr_pool_t *p)
{
    char *text = apr_pstrdup(p, value);
    char *c;

    for (c = text; *c; ++c) {
        /* others may be parts of characters */
        if ((unsigned char)*c < 0x80) {
            *c = (char)(placeholder->upper ? apr_toupper(*c)
                        : placeholder->lower ? apr_tolower(*c) : *c);
        }
    }
    return text;
}

static const char *value_of(void *baton, const char *text, apr_pool_t *p)
{
    const apr_table_t *values = baton;
    placeholder_t placeholder;
    const char *value;

    if (!read_placeholder(&placeholder, text, p)) {
        return NULL;
    }
    value = apr_table_get(values, placeholder.name);
    return value && *value ? changed(&placeholder, value, p) : placeholder.preset;
}

/** Stands for any value while a template is checked. */
static const char *any_value(void *baton, const char *text, apr_pool_t *p)
{
    placeholder_t placeholder;

    return read_placeholder(&placeholder, text, p)
               ? placeholder.preset ? placeholder.preset : baton : NULL;
}

static const char *name_of(const char *text, apr_pool_t *p)
{
    placeholder_t placeholder;

    return read_placeholder(&placeholder, text, p) ? placeholder.name : text;
}

/* Checks of what is configured */

static const char *misspelt(const char *failed, apr_pool_t *p)
{
    return failed ? apr_psprintf(p, "<%.80s> is no variable such as <name>, <name:upper>, "
                                 "<name:lower> or <name:default=text>", failed)
                  : "a '<' or '>' has no counterpart";
}

const char *scep_digital_check_parent(const char *text, apr_pool_t *p)
{
    gh_result_t result;
    X509_NAME *name;

    gh_result_clear(&result);
    if (strlen(text) > SCEP_DIGITAL_TEMPLATE_MAX) {
        return "it is longer than 1024 bytes";
    }
    return gh_name_parse(&name, text, p, &result) == APR_SUCCESS
               && X509_NAME_entry_count(name) > 0
               ? NULL : "it is no name like \"ou=Devices,o=Example\" (RFC 4514)";
}

const char *scep_digital_check_rdn(const char *text, apr_pool_t *p)
{
    const char *failed;
    /* a country has two letters */
    const char *filled = gh_template_fill(text, any_value, (void *)"XX", 1, &failed, p);

    if (!filled) {
        return misspelt(failed, p);
    }
    if (!strchr(text, '<')) {
        return "it has no variable, so that all certificates would have one name";
    }
    return scep_digital_check_parent(filled, p)
               ? "it is no name like \"cn=<firstname> <lastname>\" (RFC 4514)" : NULL;
}

const char *scep_digital_check_name(const char *type, const char *text, apr_pool_t *p)
{
    static const char *const types[] = { "dns", "email", "ip", "uri", "upn" };
    const char *failed, *filled;
    apr_size_t i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); ++i) {
        if (!strcasecmp(types[i], type)) {
            break;
        }
    }
    if (i == sizeof(types) / sizeof(types[0])) {
        return "types are dns, email, ip, uri and upn";
    }
    filled = gh_template_fill(text, any_value, (void *)"x", 0, &failed, p);
    if (!filled) {
        return misspelt(failed, p);
    }
    return *text && strlen(text) <= SCEP_DIGITAL_TEMPLATE_MAX ? NULL
                                                              : "it is empty, or too long";
}

/* Variables */

typedef struct {
    apr_array_header_t *list;       /* scep_digital_variable_t */
    apr_pool_t *pool;
} variables_t;

static const char *note_variable(void *baton, const char *text, apr_pool_t *p)
{
    variables_t *variables = baton;
    scep_digital_variable_t *variable = NULL;
    placeholder_t placeholder;
    int i;

    if (!read_placeholder(&placeholder, text, variables->pool)) {
        return NULL;
    }
    for (i = 0; i < variables->list->nelts && !variable; ++i) {
        scep_digital_variable_t *one = &APR_ARRAY_IDX(variables->list, i, scep_digital_variable_t);

        variable = !strcasecmp(one->name, placeholder.name) ? one : NULL;
    }
    if (!variable) {
        variable = apr_array_push(variables->list);
        variable->name = placeholder.name;
        variable->required = 0;
    }
    variable->required |= !placeholder.preset;
    return "";
}

apr_array_header_t *scep_digital_variables(const scep_digital_t *digital, apr_pool_t *p)
{
    variables_t variables = { apr_array_make(p, 4, sizeof(scep_digital_variable_t)), p };
    const char *failed;
    int i;

    gh_template_fill(digital->rdn, note_variable, &variables, 0, &failed, p);
    for (i = 0; i < digital->names->nelts; ++i) {
        gh_template_fill(APR_ARRAY_IDX(digital->names, i, scep_digital_name_t).text, note_variable,
                         &variables, 0, &failed, p);
    }
    return variables.list;
}

/* Filling */

static apr_status_t refuse(gh_result_t *result, const char *action, const char *failed,
                           const scep_digital_t *digital)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "digital.variable", action,
                          GHNO(0988) "digital ID \"%s\" needs a value for <%.80s>", digital->name,
                          failed);
}

static int is_printable(const char *value)
{
    for (; *value; ++value) {
        if ((unsigned char)*value < 0x20 || *value == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static apr_status_t check_values(const scep_digital_t *digital, const apr_table_t *values,
                                 apr_pool_t *p, gh_result_t *result)
{
    const apr_array_header_t *variables = scep_digital_variables(digital, p);
    const apr_array_header_t *all = apr_table_elts(values);
    int i, j;

    for (i = 0; i < all->nelts; ++i) {
        const apr_table_entry_t *entry = &APR_ARRAY_IDX(all, i, apr_table_entry_t);

        for (j = 0; j < variables->nelts; ++j) {
            if (!strcasecmp(APR_ARRAY_IDX(variables, j, scep_digital_variable_t).name,
                            entry->key)) {
                break;
            }
        }
        if (j == variables->nelts) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "digital.unknown",
                                  "Ask for the list of digital IDs: it names their variables.",
                                  GHNO(0989) "digital ID \"%s\" has no variable <%.80s>",
                                  digital->name, entry->key);
        }
        if (strlen(entry->val) > SCEP_DIGITAL_VALUE_MAX || !is_printable(entry->val)) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "digital.value",
                                  "Supply at most 256 bytes without control characters.",
                                  GHNO(0990) "the value of <%.80s> is too long, or has control "
                                  "characters", entry->key);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t make_subject(const char **subject, const scep_digital_t *digital,
                                 const apr_table_t *values, apr_pool_t *p, gh_result_t *result)
{
    const char *failed;
    const char *text = gh_template_fill(digital->rdn, value_of, (void *)values, 1, &failed, p);
    X509_NAME *name;

    if (!text) {
        return refuse(result, "Supply all variables of the digital ID.",
                      failed ? name_of(failed, p) : "?", digital);
    }
    if (digital->parent) {
        text = apr_pstrcat(p, text, ",", digital->parent, NULL);
    }
    if (strlen(text) > SUBJECT_MAX || gh_name_parse(&name, text, p, NULL) != APR_SUCCESS) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "digital.subject",
                              "Supply shorter values, of the characters that the attributes "
                              "permit.",
                              GHNO(0991) "the values make no subject for digital ID \"%s\"",
                              digital->name);
    }
    *subject = gh_name_text(name, p);
    return APR_SUCCESS;
}

static apr_status_t make_name(const char **text, const scep_digital_t *digital,
                              const scep_digital_name_t *said, const apr_table_t *values,
                              apr_pool_t *p, gh_result_t *result)
{
    const char *failed;
    const char *filled = gh_template_fill(said->text, value_of, (void *)values, 0, &failed, p);
    GENERAL_NAME *name = NULL;
    apr_status_t rv;

    if (!filled) {
        return refuse(result, "Supply all variables of the digital ID.",
                      failed ? name_of(failed, p) : "?", digital);
    }
    rv = gh_san_make(&name, said->type, filled, NULL);
    if (rv == APR_SUCCESS) {
        rv = gh_san_check(name, NULL);
    }
    GENERAL_NAME_free(name);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "digital.san",
                              "Supply values that make a name of this type.",
                              GHNO(0992) "the values make no alternative name of type %s for "
                              "digital ID \"%s\"", said->type, digital->name);
    }
    *text = apr_pstrcat(p, said->type, ":", filled, NULL);
    return APR_SUCCESS;
}

static apr_status_t normalise(const char **normal, const apr_array_header_t *sans, apr_pool_t *p,
                              gh_result_t *result)
{
    GENERAL_NAMES *names;
    apr_status_t rv = gh_san_read(&names, sans, p, result);

    return rv == APR_SUCCESS ? gh_san_normal(normal, names, p, result) : rv;
}

apr_status_t scep_digital_make(const char **subject, apr_array_header_t **sans,
                               const char **normal, const scep_digital_t *digital,
                               const apr_table_t *values, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = check_values(digital, values, p, result);
    const char *text = NULL;
    int i;

    *sans = apr_array_make(p, 2, sizeof(const char *));
    *normal = NULL;
    if (rv == APR_SUCCESS) {
        rv = make_subject(subject, digital, values, p, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < digital->names->nelts; ++i) {
        rv = make_name(&text, digital, &APR_ARRAY_IDX(digital->names, i, scep_digital_name_t),
                       values, p, result);
        if (rv == APR_SUCCESS) {
            APR_ARRAY_PUSH(*sans, const char *) = text;
        }
    }
    if (rv == APR_SUCCESS && (*sans)->nelts) {
        rv = normalise(normal, *sans, p, result);
    }
    return rv;
}
