/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_signature.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <xmlsec/xmlsec.h>
#include <xmlsec/errors.h>
#include <xmlsec/keys.h>
#include <xmlsec/openssl/crypto.h>
#include <xmlsec/openssl/evp.h>
#include <xmlsec/transforms.h>
#include <xmlsec/xmldsig.h>

#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

#define NS_EXCLUSIVE "http://www.w3.org/2001/10/xml-exc-c14n#"
#define NS_MORE "http://www.w3.org/2001/04/xmldsig-more#"
#define NS_ENCRYPTION "http://www.w3.org/2001/04/xmlenc#"
#define X509_V3 \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"

#define REFERENCES_MAX 8
#define ID_MAX 128
#define CERTIFICATE_MAX 16384

/** One signature that is being looked at. */
typedef struct {
    const wstep_soap_t *soap;
    const wstep_user_token_t *token;
    xmlNode *body;
    apr_hash_t *ids;                /* xmlAttr * by value: of the whole document */
    xmlNode *covered[REFERENCES_MAX];
    int count;
    X509 *certificate;
    apr_pool_t *p;
    gh_result_t *result;
} look_t;

static apr_status_t refuse(const look_t *look, const char *what)
{
    return gh_result_fail(look->result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "signature.form",
                          "Sign Body and Timestamp by their Id with the key of the "
                          "BinarySecurityToken, by exclusive canonicalisation and SHA-256 or "
                          "better.", GHNO(1485) "the signature of the message is of a form that is "
                          "not accepted: %s", what);
}

/* Ids */

static int is_id(const xmlAttr *attribute)
{
    return !strcasecmp((const char *)attribute->name, "id");
}

/** Whatever the name space: another program may take any of them for the Id. An empty one, as some
 *  clients send it, names nothing. */
static apr_status_t take_ids(look_t *look, const xmlNode *node)
{
    xmlAttr *attribute;

    for (attribute = node->properties; attribute; attribute = attribute->next) {
        const char *value = is_id(attribute)
            ? wstep_xml_text((const xmlNode *)attribute, look->p) : "";

        if (!value || (*value && apr_hash_get(look->ids, value, APR_HASH_KEY_STRING))) {
            return gh_result_fail(look->result, APR_EINVAL, GH_FAILURE_MALFORMED, "signature.id",
                                  "Give each element an Id of its own.",
                                  GHNO(1486) "two elements of the message have the same Id");
        }
        if (*value) {
            apr_hash_set(look->ids, value, APR_HASH_KEY_STRING, attribute);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t find_ids(look_t *look)
{
    xmlNode *root = xmlDocGetRootElement(look->soap->document);
    xmlNode *node = root;
    apr_status_t rv = APR_SUCCESS;

    look->ids = apr_hash_make(look->p);
    while (node && rv == APR_SUCCESS) {
        if (node->type == XML_ELEMENT_NODE) {
            rv = take_ids(look, node);
        }
        if (node->type == XML_ELEMENT_NODE && node->children) {
            node = node->children;
            continue;
        }
        while (node != root && !node->next) {
            node = node->parent;
        }
        node = node == root ? NULL : node->next;
    }
    return rv;
}

/** "#_1" with letters that mean nothing to XPointer. @return NULL if it is anything else */
static const char *fragment_of(const char *uri)
{
    const char *at;

    if (!uri || *uri != '#' || !uri[1] || strlen(uri) > ID_MAX) {
        return NULL;
    }
    for (at = uri + 1; *at; ++at) {
        if (!isalnum((unsigned char)*at) && !strchr("-_.", *at)) {
            return NULL;
        }
    }
    return uri + 1;
}

/** The element that an Id names, and its attribute made known to libxml2. wsu:Id of WS-Security
 *  alone, or Id of XML signatures, names something. */
static xmlNode *resolve(look_t *look, const char *uri)
{
    const char *id = fragment_of(uri);
    xmlAttr *attribute = id ? apr_hash_get(look->ids, id, APR_HASH_KEY_STRING) : NULL;

    if (!attribute || strcmp((const char *)attribute->name, "Id") || !attribute->ns
        || strcmp((const char *)attribute->ns->href, WSTEP_NS_WSU)) {
        return NULL;
    }
    if (!attribute->atype
        && !xmlAddID(NULL, look->soap->document, (const xmlChar *)id, attribute)) {
        return NULL;
    }
    return attribute->parent;
}

/* The form of a signature */

/** Takes the element that has to stand here, and goes on behind it. */
static xmlNode *take(xmlNode **at, const char *uri, const char *name)
{
    xmlNode *node = wstep_xml_element(*at);

    if (!wstep_xml_is(node, uri, name)) {
        return NULL;
    }
    *at = node->next;
    return node;
}

static int is_end(xmlNode *at)
{
    return wstep_xml_element(at) == NULL;
}

/** @return 1 if the attributes of an element are those that are named, or some of them */
static int has_only(const xmlNode *node, const char *one, const char *other)
{
    const xmlAttr *attribute;

    for (attribute = node->properties; attribute; attribute = attribute->next) {
        const char *name = (const char *)attribute->name;

        if (attribute->ns || !((one && !strcmp(name, one)) || (other && !strcmp(name, other)))) {
            return 0;
        }
    }
    return 1;
}

static int is_one_of(const look_t *look, const xmlNode *node, const char *const *known)
{
    const char *algorithm = node ? wstep_xml_attribute(node, NULL, "Algorithm", look->p) : NULL;

    for (; algorithm && *known; ++known) {
        if (!strcmp(algorithm, *known)) {
            return has_only(node, "Algorithm", NULL);
        }
    }
    return 0;
}

/** Exclusive canonicalisation without comments; at most with a list of prefixes. */
static int is_exclusive(const look_t *look, const xmlNode *node)
{
    static const char *const known[] = { NS_EXCLUSIVE, NULL };
    xmlNode *at = node ? node->children : NULL;
    const xmlNode *prefixes;

    if (!is_one_of(look, node, known)) {
        return 0;
    }
    if (is_end(at)) {
        return 1;
    }
    prefixes = take(&at, NS_EXCLUSIVE, "InclusiveNamespaces");
    return prefixes && has_only(prefixes, "PrefixList", NULL) && is_end(prefixes->children)
           && is_end(at);
}

static int is_digest(const look_t *look, const xmlNode *node)
{
    static const char *const known[] = {
        NS_ENCRYPTION "sha256", NS_MORE "sha384", NS_ENCRYPTION "sha512", NULL
    };

    return is_one_of(look, node, known) && is_end(node->children);
}

static int is_method(const look_t *look, const xmlNode *node)
{
    static const char *const known[] = {
        NS_MORE "rsa-sha256", NS_MORE "rsa-sha384", NS_MORE "rsa-sha512",
        NS_MORE "ecdsa-sha256", NS_MORE "ecdsa-sha384", NS_MORE "ecdsa-sha512", NULL
    };

    return is_one_of(look, node, known) && is_end(node->children);
}

/** What may be signed: the very elements that are read. */
static int is_read(const look_t *look, const xmlNode *node)
{
    static const char *const headers[] = { "Action", "MessageID", "To", "ReplyTo", "FaultTo",
                                           "From" };
    apr_size_t i;

    if (node == look->body || node == look->token->timestamp || node == look->token->binary) {
        return 1;
    }
    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); ++i) {
        if (node->parent == look->soap->security->parent
            && wstep_xml_is(node, WSTEP_NS_ADDRESSING, headers[i])) {
            return 1;
        }
    }
    return 0;
}

static int covers(const look_t *look, const xmlNode *node)
{
    int i;

    for (i = 0; i < look->count; ++i) {
        if (look->covered[i] == node) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t take_reference(look_t *look, xmlNode *reference)
{
    xmlNode *at = reference->children, *transform;
    xmlNode *transforms = take(&at, WSTEP_NS_DSIG, "Transforms");
    xmlNode *digest = take(&at, WSTEP_NS_DSIG, "DigestMethod");
    xmlNode *value = take(&at, WSTEP_NS_DSIG, "DigestValue");
    xmlNode *node;

    if (!transforms || !value || !is_end(at) || !is_digest(look, digest)
        || !has_only(reference, "URI", NULL) || !has_only(transforms, NULL, NULL)
        || !is_end(value->children)) {
        return refuse(look, "a reference is not of one transform and a digest by SHA-256 or "
                            "better");
    }
    at = transforms->children;
    transform = take(&at, WSTEP_NS_DSIG, "Transform");
    if (!is_exclusive(look, transform) || !is_end(at)) {
        return refuse(look, "a transform is another one than exclusive canonicalisation");
    }
    node = resolve(look, wstep_xml_attribute(reference, NULL, "URI", look->p));
    if (!node || !is_read(look, node) || covers(look, node)) {
        return refuse(look, "a reference names something else than an element that is read, by "
                            "its wsu:Id");
    }
    if (look->count == REFERENCES_MAX) {
        return refuse(look, "it has too many references");
    }
    look->covered[look->count++] = node;
    return APR_SUCCESS;
}

static apr_status_t take_signed_info(look_t *look, const xmlNode *info)
{
    xmlNode *at = info->children, *reference;
    const xmlNode *form = take(&at, WSTEP_NS_DSIG, "CanonicalizationMethod");
    const xmlNode *method = take(&at, WSTEP_NS_DSIG, "SignatureMethod");

    if (!is_exclusive(look, form) || !is_method(look, method) || !has_only(info, "Id", NULL)) {
        return refuse(look, "its method is none of RSA or ECDSA with SHA-256, SHA-384 or SHA-512, "
                            "over exclusive canonicalisation");
    }
    while ((reference = take(&at, WSTEP_NS_DSIG, "Reference")) != NULL) {
        apr_status_t rv = take_reference(look, reference);

        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    if (!is_end(at)) {
        return refuse(look, "it has unknown elements");
    }
    if (!covers(look, look->body) || !covers(look, look->token->timestamp)) {
        return refuse(look, "it does not cover both Body and Timestamp");
    }
    return APR_SUCCESS;
}

/* Whose key */

static apr_status_t take_certificate(look_t *look)
{
    const xmlNode *token = look->token->binary;
    const char *type = wstep_xml_attribute(token, NULL, "ValueType", look->p);
    const char *text = wstep_xml_text(token, look->p);
    gh_bytes_t der = { NULL, 0 };

    if (type && !strcmp(type, X509_V3) && text && strlen(text) < CERTIFICATE_MAX * 2) {
        der = gh_base64_decode(text, look->p);
    }
    if (der.length && der.length <= CERTIFICATE_MAX) {
        look->certificate = gh_certificate_parse(der, look->p);
    }
    if (!look->certificate || !gh_key_kind(X509_get0_pubkey(look->certificate))) {
        return refuse(look, "its BinarySecurityToken is no certificate with an accepted key");
    }
    return APR_SUCCESS;
}

/** The token beside the signature, and nothing else that could bring a key. */
static apr_status_t take_key_info(look_t *look, const xmlNode *info)
{
    xmlNode *at = info ? info->children : NULL, *inner;
    const xmlNode *reference = take(&at, WSTEP_NS_WSSE, "SecurityTokenReference");
    const xmlNode *named;
    const char *type;

    if (!reference || !is_end(at)) {
        return refuse(look, "KeyInfo is not one SecurityTokenReference");
    }
    inner = reference->children;
    named = take(&inner, WSTEP_NS_WSSE, "Reference");
    if (!named || !is_end(inner) || !is_end(named->children)
        || !has_only(named, "URI", "ValueType")) {
        return refuse(look, "SecurityTokenReference is not one Reference");
    }
    type = wstep_xml_attribute(named, NULL, "ValueType", look->p);
    if ((type && strcmp(type, X509_V3)) || !look->token->binary
        || resolve(look, wstep_xml_attribute(named, NULL, "URI", look->p))
               != look->token->binary) {
        return refuse(look, "it names another key than that of the BinarySecurityToken beside it");
    }
    return take_certificate(look);
}

static apr_status_t take_signature(look_t *look)
{
    xmlNode *at = look->token->signature->children;
    const xmlNode *info = take(&at, WSTEP_NS_DSIG, "SignedInfo");
    const xmlNode *value = take(&at, WSTEP_NS_DSIG, "SignatureValue");
    const xmlNode *key = take(&at, WSTEP_NS_DSIG, "KeyInfo");
    apr_status_t rv;

    if (!info || !value || !key || !is_end(at) || !is_end(value->children)
        || !has_only(look->token->signature, "Id", NULL)) {
        return refuse(look, "it has not SignedInfo, SignatureValue and KeyInfo alone");
    }
    rv = take_key_info(look, key);
    return rv == APR_SUCCESS ? take_signed_info(look, info) : rv;
}

/* xmlsec */

static void silence(const char *file, int line, const char *func, const char *object,
                    const char *subject, int reason, const char *message)
{
}

int wstep_signature_initialise(void)
{
    int good = xmlSecInit() >= 0 && xmlSecOpenSSLInit() >= 0;

    xmlSecErrorsSetCallback(silence);
    return good;
}

/** @return NULL for lack of memory, or a key that xmlsec does not know */
static xmlSecKey *make_key(X509 *certificate)
{
    EVP_PKEY *public = X509_get0_pubkey(certificate);
    xmlSecKeyData *data = NULL;
    xmlSecKey *key = NULL;

    if (!public || !EVP_PKEY_up_ref(public)) {
        return NULL;
    }
    data = xmlSecOpenSSLEvpKeyAdopt(public);
    if (!data) {
        EVP_PKEY_free(public);
        return NULL;
    }
    key = xmlSecKeyCreate();
    if (!key || xmlSecKeySetValue(key, data) < 0) {
        xmlSecKeyDataDestroy(data);
        xmlSecKeyDestroy(key);
        return NULL;
    }
    return key;
}

static int restrict_context(xmlSecDSigCtx *context)
{
    const xmlSecTransformId references[] = {
        xmlSecTransformExclC14NId, xmlSecOpenSSLTransformSha256Id, xmlSecOpenSSLTransformSha384Id,
        xmlSecOpenSSLTransformSha512Id
    };
    const xmlSecTransformId methods[] = {
        xmlSecTransformExclC14NId, xmlSecOpenSSLTransformRsaSha256Id,
        xmlSecOpenSSLTransformRsaSha384Id, xmlSecOpenSSLTransformRsaSha512Id,
        xmlSecOpenSSLTransformEcdsaSha256Id, xmlSecOpenSSLTransformEcdsaSha384Id,
        xmlSecOpenSSLTransformEcdsaSha512Id
    };
    int good = 1;
    apr_size_t i;

    context->enabledReferenceUris = xmlSecTransformUriTypeSameDocument;
    for (i = 0; i < sizeof(references) / sizeof(references[0]); ++i) {
        good &= xmlSecDSigCtxEnableReferenceTransform(context, references[i]) >= 0;
    }
    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); ++i) {
        good &= xmlSecDSigCtxEnableSignatureTransform(context, methods[i]) >= 0;
    }
    return good;
}

static apr_status_t verify(look_t *look)
{
    xmlSecDSigCtx *context = xmlSecDSigCtxCreate(NULL);
    int good = 0;

    if (context && restrict_context(context)) {
        context->signKey = make_key(look->certificate);
        good = context->signKey
               && xmlSecDSigCtxVerify(context, look->token->signature) >= 0
               && context->status == xmlSecDSigStatusSucceeded
               && (int)xmlSecPtrListGetSize(&context->signedInfoReferences) == look->count;
    }
    if (context) {
        xmlSecDSigCtxDestroy(context);
    }
    ERR_clear_error();
    if (!good) {
        return gh_result_fail(look->result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "signature.value",
                              "Look whether the message is changed on its way.",
                              GHNO(1487) "the signature of the message does not verify");
    }
    return APR_SUCCESS;
}

apr_status_t wstep_signature_verify(X509 **signer, const wstep_soap_t *soap,
                                    const wstep_user_token_t *token, apr_pool_t *p,
                                    gh_result_t *result)
{
    look_t look = {
        .soap = soap, .token = token, .body = soap->payload->parent, .p = p, .result = result
    };
    apr_status_t rv;

    *signer = NULL;
    if (!token->signature || !token->timestamp || !soap->security) {
        return refuse(&look, "there is none, or no Timestamp beside it");
    }
    rv = find_ids(&look);
    if (rv == APR_SUCCESS) {
        rv = take_signature(&look);
    }
    if (rv == APR_SUCCESS) {
        rv = verify(&look);
    }
    if (rv == APR_SUCCESS) {
        *signer = look.certificate;
    }
    return rv;
}
