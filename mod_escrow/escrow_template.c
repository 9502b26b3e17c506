/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_template.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/needs.h"
#include "log.h"
#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_template_private.h"

static const escrow_format_t formats[] = {
    { "mobileconfig", NULL },
    { "json", escrow_json_fill },
    { "xml", escrow_xml_fill },
    { "text", escrow_text_fill }
};

const escrow_credential_t *escrow_set_get(const escrow_set_t *set, escrow_use_t use, int position)
{
    const apr_array_header_t *credentials = set->uses[use];

    if (credentials == NULL || position < 0 || position >= credentials->nelts)
        return NULL;
    return APR_ARRAY_IDX(credentials, position, const escrow_credential_t *);
}

void escrow_set_add(escrow_set_t *set, escrow_use_t use, const escrow_credential_t *credential,
                    apr_pool_t *p)
{
    if (set->uses[use] == NULL)
        set->uses[use] = apr_array_make(p, 4, sizeof(const escrow_credential_t *));
    APR_ARRAY_PUSH(set->uses[use], const escrow_credential_t *) = credential;
}

static const escrow_format_t *find_format(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    }
    return NULL;
}

/* Where in the text an unknown token stands; within escapes only the format's reader sees them. */
static apr_status_t scan(gh_bytes_t skeleton, gh_result_t *result)
{
    const char *text = (const char *)skeleton.data;
    escrow_found_t found;
    escrow_token_t token;
    apr_size_t at = 0, i;
    int line = 1, column = 1;

    while ((found = escrow_token_next(&token, text, skeleton.length, at)) == ESCROW_TOKEN_FOUND)
        at = token.end;
    if (found == ESCROW_TOKEN_NONE)
        return APR_SUCCESS;
    for (i = 0; i < token.begin; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return escrow_token_refuse(result, text + token.begin, skeleton.length - token.begin, line,
                               column);
}

static const char *needs_text(const escrow_fill_t *fill, apr_pool_t *p)
{
    apr_array_header_t *needs = apr_array_make(p, 4, sizeof(const char *));
    int use, position;

    for (use = 1; use <= ESCROW_USES; use++) {
        for (position = 0; position < ESCROW_POSITIONS; position++) {
            const char *name = escrow_use_name((escrow_use_t)use);

            if (fill->needs[use][position])
                APR_ARRAY_PUSH(needs, const char *)
                    = position == 0 ? name : apr_psprintf(p, "%s[%d]", name, position);
        }
    }
    return apr_array_pstrcat(p, needs, ',');
}

apr_status_t escrow_template_read(escrow_template_t **template, const char *format,
                                  gh_bytes_t skeleton, apr_pool_t *p, gh_result_t *result)
{
    escrow_template_t *made = apr_pcalloc(p, sizeof(*made));
    escrow_fill_t *fill;
    escrow_plist_t plist;
    gh_bytes_t out;
    apr_pool_t *ptemp;
    apr_status_t rv;

    *template = NULL;
    if ((made->format = find_format(format)) == NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.format",
                              "Say mobileconfig, json, xml or text.",
                              GHNO(1142) "\"%.32s\" is no format of skeletons", format);
    if (skeleton.length == 0 || skeleton.length > ESCROW_SKELETON_MAX)
        return escrow_form_refuse(result, format, 0, "is empty, or larger than 1 MiB");
    if ((rv = scan(skeleton, result)) != APR_SUCCESS)
        return rv;
    apr_pool_create(&ptemp, p);
    rv = escrow_fill_create(&fill, NULL, NULL, ptemp, result);
    if (rv == APR_SUCCESS)
        rv = made->format->fill != NULL ? made->format->fill(&out, skeleton, fill)
                                        : escrow_plist_fill(&plist, skeleton, fill);
    if (rv == APR_SUCCESS) {
        made->needs = needs_text(fill, p);
        memcpy(made->repeated, fill->repeated, sizeof(made->repeated));
        made->skeleton = (gh_bytes_t) { (unsigned char *)apr_pstrmemdup(
            p, (const char *)skeleton.data, skeleton.length), skeleton.length };
        *template = made;
    }
    apr_pool_destroy(ptemp);
    return rv;
}

const char *escrow_template_format(const escrow_template_t *template)
{
    return template->format->name;
}

const char *escrow_template_needs(const escrow_template_t *template)
{
    return template->needs;
}

int escrow_template_uses(const escrow_template_t *template, escrow_use_t use, int position)
{
    return template->repeated[use] || gh_escrow_needs_one(template->needs, (int)use, position);
}
