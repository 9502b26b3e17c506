/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_security.h"

#include <ctype.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "log.h"
#include "text.h"

#define PASSWORD_TEXT \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0" \
    "#PasswordText"

#define NAME_MAX_LENGTH 256
#define PASSWORD_MAX_LENGTH 1024

/** How old a message may be, besides what clocks differ by. */
#define LIFETIME apr_time_from_sec(300)

/* Time */

/** Seconds that a zone is ahead of UTC, and where it begins. @return NULL: there is none, or a bad
 *  one */
static const char *find_zone(const char *text, int *seconds)
{
    apr_size_t length = strlen(text);
    const char *zone = text + length - 6;
    int i;

    if (length < 16 || (*zone != '+' && *zone != '-') || zone[3] != ':') {
        return NULL;
    }
    for (i = 1; i < 6; ++i) {
        if (i != 3 && !isdigit((unsigned char)zone[i])) {
            return NULL;
        }
    }
    *seconds = ((zone[1] - '0') * 10 + zone[2] - '0') * 3600
               + ((zone[4] - '0') * 10 + zone[5] - '0') * 60;
    if (*seconds > 14 * 3600) {
        return NULL;
    }
    if (*zone == '-') {
        *seconds = -*seconds;
    }
    return zone;
}

apr_status_t wstep_time_parse(apr_time_t *time, const char *text)
{
    apr_size_t length = strlen(text);
    char utc[64];
    const char *zone;
    int ahead = 0;
    apr_status_t rv;

    if (length < 16 || length > sizeof(utc) - 2) {
        return APR_EINVAL;
    }
    zone = find_zone(text, &ahead);
    if (zone) {
        length = (apr_size_t)(zone - text);
    }
    else if (text[length - 1] == 'Z') {
        --length;
    }
    memcpy(utc, text, length);
    utc[length] = 'Z';
    utc[length + 1] = '\0';
    rv = gh_time_parse(time, utc);
    if (rv == APR_SUCCESS) {
        *time -= apr_time_from_sec(ahead);
    }
    return rv;
}

static apr_status_t read_time(apr_time_t *time, const xmlNode *timestamp, const char *name,
                              apr_pool_t *p, gh_result_t *result)
{
    int count;
    const xmlNode *node = wstep_xml_child(timestamp, WSTEP_NS_WSU, name, &count);
    const char *text = node ? wstep_xml_text(node, p) : NULL;

    *time = 0;
    if (count == 0) {
        return APR_SUCCESS;
    }
    if (!text || wstep_time_parse(time, text) != APR_SUCCESS) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "security.timestamp",
                              "Send times as 2026-11-20T15:04:05Z, each once.",
                              GHNO(1356) "the time %s of wsu:Timestamp cannot be read", name);
    }
    return APR_SUCCESS;
}

static apr_status_t check_timestamp(const xmlNode *timestamp, apr_time_t now,
                                    apr_interval_time_t skew, apr_pool_t *p, gh_result_t *result)
{
    apr_time_t created, expires;
    apr_status_t rv = read_time(&created, timestamp, "Created", p, result);

    if (rv == APR_SUCCESS) {
        rv = read_time(&expires, timestamp, "Expires", p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* without an end, five minutes as everybody has them */
    if (!expires) {
        expires = created + LIFETIME;
    }
    /* however long the sender says that it is good */
    if (!created || created > now + skew || created < now - skew - LIFETIME || expires < now - skew
        || expires < created) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_TIME, "security.time",
                              "Set the clocks of client and server.",
                              GHNO(1357) "the message is not from now: it was made at %s and good "
                                         "until %s, and here it is %s", gh_time_text(p, created),
                              gh_time_text(p, expires), gh_time_text(p, now));
    }
    return APR_SUCCESS;
}

/* UsernameToken */

static apr_status_t overwrite(void *data)
{
    OPENSSL_cleanse(data, strlen(data));
    return APR_SUCCESS;
}

static apr_status_t refuse_token(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "security.usertoken",
                          "Send one user name and one password.",
                          GHNO(1358) "the UsernameToken cannot be used: %s", what);
}

/** The text as it is, white space included; what is in the document is overwritten. */
static char *take_password(xmlNode *node, apr_pool_t *p)
{
    xmlNode *text = node->children;
    char *password;

    if (!text || text->next || (text->type != XML_TEXT_NODE && text->type != XML_CDATA_SECTION_NODE)
        || !text->content || strlen((char *)text->content) > PASSWORD_MAX_LENGTH) {
        return NULL;
    }
    password = apr_pstrdup(p, (const char *)text->content);
    apr_pool_cleanup_register(p, password, overwrite, apr_pool_cleanup_null);
    OPENSSL_cleanse(text->content, strlen((char *)text->content));
    return password;
}

static apr_status_t read_user_token(wstep_user_token_t *token, const xmlNode *node, apr_pool_t *p,
                                    gh_result_t *result)
{
    const xmlNode *name = wstep_xml_child(node, WSTEP_NS_WSSE, "Username", NULL);
    xmlNode *password = wstep_xml_child(node, WSTEP_NS_WSSE, "Password", NULL);
    const char *type;

    if (!name || !password) {
        return refuse_token(result, "it has not exactly one Username and one Password");
    }
    /* some clients put the attribute into the namespace */
    type = wstep_xml_attribute(password, NULL, "Type", p);
    if (!type) {
        type = wstep_xml_attribute(password, WSTEP_NS_WSSE, "Type", p);
    }
    if (type && strcmp(type, PASSWORD_TEXT) != 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "security.password-type",
                              "Send the password as PasswordText.",
                              GHNO(1359) "passwords are taken as PasswordText alone, not as a "
                                         "digest");
    }
    token->name = wstep_xml_text(name, p);
    token->password = take_password(password, p);
    if (!token->name || !*token->name || strlen(token->name) > NAME_MAX_LENGTH
        || !token->password) {
        token->name = NULL;
        return refuse_token(result, "name or password is empty, too long, or no text");
    }
    return APR_SUCCESS;
}

/** What stands in the header at most once each; everything else is refused. */
typedef struct {
    xmlNode *timestamp, *user, *binary, *signature;
} parts_t;

static apr_status_t find_parts(parts_t *parts, const xmlNode *security, gh_result_t *result)
{
    xmlNode *node;

    memset(parts, 0, sizeof(*parts));
    for (node = wstep_xml_element(security->children); node;
         node = wstep_xml_element(node->next)) {
        xmlNode **part = wstep_xml_is(node, WSTEP_NS_WSU, "Timestamp") ? &parts->timestamp
            : wstep_xml_is(node, WSTEP_NS_WSSE, "UsernameToken") ? &parts->user
            : wstep_xml_is(node, WSTEP_NS_WSSE, "BinarySecurityToken") ? &parts->binary
            : wstep_xml_is(node, WSTEP_NS_DSIG, "Signature") ? &parts->signature : NULL;

        if (!part || *part) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "security.header",
                                  "Send a Timestamp, and a UsernameToken or a signature.",
                                  GHNO(1360) "wsse:Security has an element %.64s that is unknown, "
                                             "or there twice", (const char *)node->name);
        }
        *part = node;
    }
    return APR_SUCCESS;
}

apr_status_t wstep_security_read(wstep_user_token_t *token, const xmlNode *security,
                                 apr_time_t now, apr_interval_time_t skew, apr_pool_t *p,
                                 gh_result_t *result)
{
    apr_status_t rv, read = APR_SUCCESS;
    parts_t parts;

    memset(token, 0, sizeof(*token));
    if (!security) {
        return APR_SUCCESS;
    }
    rv = find_parts(&parts, security, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* first, so that the password does not stay in the document */
    if (parts.user) {
        read = read_user_token(token, parts.user, p, result);
    }
    if (read != APR_SUCCESS) {
        return read;
    }
    token->timed = parts.timestamp != NULL;
    token->is_signed = parts.signature != NULL;
    token->timestamp = parts.timestamp;
    token->binary = parts.binary;
    token->signature = parts.signature;
    return parts.timestamp ? check_timestamp(parts.timestamp, now, skew, p, result) : APR_SUCCESS;
}

/* Names */

static apr_status_t refuse_name(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "security.user",
                          "Write user, DOMAIN\\user or user@domain; see WSTEPDomain.",
                          GHNO(1361) "the user name cannot be used: %s", what);
}

static const wstep_domain_t *find_domain(const apr_array_header_t *domains, const char *name)
{
    int i;

    for (i = 0; domains && i < domains->nelts; ++i) {
        const wstep_domain_t *domain = &APR_ARRAY_IDX(domains, i, wstep_domain_t);

        if (!strcasecmp(domain->name, name)
            || (domain->alias && !strcasecmp(domain->alias, name))) {
            return domain;
        }
    }
    return NULL;
}

/** DOMAIN\user or user@domain; elsewhere neither sign may stand. */
static int split_name(const char **name, const char **domain, const char *written, apr_pool_t *p)
{
    const char *backslash = strchr(written, '\\');
    const char *at = strchr(written, '@');

    *name = written;
    *domain = NULL;
    if (backslash) {
        *domain = apr_pstrmemdup(p, written, (apr_size_t)(backslash - written));
        *name = backslash + 1;
    }
    else if (at) {
        *name = apr_pstrmemdup(p, written, (apr_size_t)(at - written));
        *domain = at + 1;
    }
    return **name && !strpbrk(*name, "\\@/:")
           && (!*domain || (**domain && !strpbrk(*domain, "\\@/:")));
}

apr_status_t wstep_user_parse(wstep_user_t *user, const char *written, const char *requested,
                              const apr_array_header_t *domains, apr_pool_t *p,
                              gh_result_t *result)
{
    const char *domain, *c;

    memset(user, 0, sizeof(*user));
    for (c = written; *c; ++c) {
        if (iscntrl((unsigned char)*c)) {
            return refuse_name(result, "it has control characters");
        }
    }
    if (!*written || strlen(written) > NAME_MAX_LENGTH
        || !split_name(&user->name, &domain, written, p)) {
        user->name = NULL;
        return refuse_name(result, "it has none of the known forms");
    }
    user->written = written;
    user->principal = strchr(written, '@') != NULL;
    if (!domain) {
        domain = requested && *requested ? requested : NULL;
    }
    if (domain) {
        user->domain = find_domain(domains, domain);
    }
    else if (domains && domains->nelts) {
        user->domain = &APR_ARRAY_IDX(domains, 0, wstep_domain_t);
    }
    if (domain && !user->domain) {
        user->name = NULL;
        return refuse_name(result, "its domain is not one of this server's");
    }
    return APR_SUCCESS;
}
