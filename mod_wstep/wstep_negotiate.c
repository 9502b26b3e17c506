/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_negotiate.h"

#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#define OID_SPNEGO      "1.3.6.1.5.5.2"
#define OID_KERBEROS    "1.2.840.113554.1.2.2"
#define OID_KERBEROS_MS "1.2.840.48018.1.2.2"   /* as Windows 2000 wrote it */
#define OID_NTLM        "1.3.6.1.4.1.311.2.2.10"

/* Of Kerberos (RFC 4120): EncryptedData, Ticket and AP-REQ */

typedef struct {
    ASN1_INTEGER *type;
    ASN1_INTEGER *version;
    ASN1_OCTET_STRING *cipher;
} ENCRYPTED;

ASN1_SEQUENCE(ENCRYPTED) = {
    ASN1_EXP(ENCRYPTED, type, ASN1_INTEGER, 0),
    ASN1_EXP_OPT(ENCRYPTED, version, ASN1_INTEGER, 1),
    ASN1_EXP(ENCRYPTED, cipher, ASN1_OCTET_STRING, 2)
} static_ASN1_SEQUENCE_END(ENCRYPTED)

typedef struct {
    ASN1_INTEGER *version;
    ASN1_TYPE *realm;
    ASN1_TYPE *service;
    ENCRYPTED *encrypted;
} TICKET;

ASN1_SEQUENCE(TICKET) = {
    ASN1_EXP(TICKET, version, ASN1_INTEGER, 0),
    ASN1_EXP(TICKET, realm, ASN1_ANY, 1),
    ASN1_EXP(TICKET, service, ASN1_ANY, 2),
    ASN1_EXP(TICKET, encrypted, ENCRYPTED, 3)
} static_ASN1_SEQUENCE_END(TICKET)

ASN1_ITEM_TEMPLATE(TICKET_TAGGED) =
    ASN1_EX_TEMPLATE_TYPE(ASN1_TFLG_EXPTAG | ASN1_TFLG_APPLICATION, 1, TICKET, TICKET)
static_ASN1_ITEM_TEMPLATE_END(TICKET_TAGGED)

typedef struct {
    ASN1_INTEGER *version;
    ASN1_INTEGER *kind;
    ASN1_BIT_STRING *options;
    TICKET *ticket;
    ENCRYPTED *authenticator;
} AP_REQUEST;

ASN1_SEQUENCE(AP_REQUEST) = {
    ASN1_EXP(AP_REQUEST, version, ASN1_INTEGER, 0),
    ASN1_EXP(AP_REQUEST, kind, ASN1_INTEGER, 1),
    ASN1_EXP(AP_REQUEST, options, ASN1_BIT_STRING, 2),
    ASN1_EXP(AP_REQUEST, ticket, TICKET_TAGGED, 3),
    ASN1_EXP(AP_REQUEST, authenticator, ENCRYPTED, 4)
} static_ASN1_SEQUENCE_END(AP_REQUEST)

ASN1_ITEM_TEMPLATE(AP_REQUEST_TAGGED) =
    ASN1_EX_TEMPLATE_TYPE(ASN1_TFLG_EXPTAG | ASN1_TFLG_APPLICATION, 14, AP_REQUEST, AP_REQUEST)
static_ASN1_ITEM_TEMPLATE_END(AP_REQUEST_TAGGED)

/* Of SPNEGO (RFC 4178 4.2) */

typedef struct {
    STACK_OF(ASN1_OBJECT) *mechanisms;
    ASN1_BIT_STRING *flags;
    ASN1_OCTET_STRING *token;
    ASN1_TYPE *check;
} NEG_INIT;

ASN1_SEQUENCE(NEG_INIT) = {
    ASN1_EXP_SEQUENCE_OF(NEG_INIT, mechanisms, ASN1_OBJECT, 0),
    ASN1_EXP_OPT(NEG_INIT, flags, ASN1_BIT_STRING, 1),
    ASN1_EXP_OPT(NEG_INIT, token, ASN1_OCTET_STRING, 2),
    ASN1_EXP_OPT(NEG_INIT, check, ASN1_ANY, 3)
} static_ASN1_SEQUENCE_END(NEG_INIT)

typedef struct {
    ASN1_ENUMERATED *state;
    ASN1_OBJECT *mechanism;
    ASN1_OCTET_STRING *token;
    ASN1_OCTET_STRING *check;
} NEG_RESPONSE;

ASN1_SEQUENCE(NEG_RESPONSE) = {
    ASN1_EXP_OPT(NEG_RESPONSE, state, ASN1_ENUMERATED, 0),
    ASN1_EXP_OPT(NEG_RESPONSE, mechanism, ASN1_OBJECT, 1),
    ASN1_EXP_OPT(NEG_RESPONSE, token, ASN1_OCTET_STRING, 2),
    ASN1_EXP_OPT(NEG_RESPONSE, check, ASN1_OCTET_STRING, 3)
} static_ASN1_SEQUENCE_END(NEG_RESPONSE)

typedef struct {
    int type;
    union {
        NEG_INIT *init;
        NEG_RESPONSE *response;
    } d;
} NEG_TOKEN;

ASN1_CHOICE(NEG_TOKEN) = {
    ASN1_EXP(NEG_TOKEN, d.init, NEG_INIT, 0),
    ASN1_EXP(NEG_TOKEN, d.response, NEG_RESPONSE, 1)
} static_ASN1_CHOICE_END(NEG_TOKEN)

/** @return NULL if it is not the whole of the bytes */
static void *parse(gh_bytes_t bytes, const ASN1_ITEM *item)
{
    const unsigned char *at = bytes.data;
    void *value = ASN1_item_d2i(NULL, &at, (long)bytes.length, item);

    if (value && at != bytes.data + bytes.length) {
        ASN1_item_free(value, item);
        value = NULL;
    }
    return value;
}

static int is_ntlm(gh_bytes_t token)
{
    return token.length >= 8 && !memcmp(token.data, "NTLMSSP", 8);
}

static int object_is(const ASN1_OBJECT *object, const char *oid)
{
    char text[80];

    return OBJ_obj2txt(text, sizeof(text), object, 1) > 0 && !strcmp(text, oid);
}

/** The frame of a first token (RFC 2743 3.1): [APPLICATION 0] with a mechanism and what is its own.
 *  @return 1 with both; the object is for the caller to free */
static int unframe(gh_bytes_t token, ASN1_OBJECT **mechanism, gh_bytes_t *inner)
{
    const unsigned char *at = token.data, *end = token.data + token.length;
    long length;
    int tag, class, form = ASN1_get_object(&at, &length, &tag, &class, (long)token.length);

    /* 0x80: an error; 1: of indefinite length */
    if (form != V_ASN1_CONSTRUCTED || tag != 0 || class != V_ASN1_APPLICATION
        || at + length != end) {
        return 0;
    }
    *mechanism = d2i_ASN1_OBJECT(NULL, &at, length);
    inner->data = at;
    inner->length = (apr_size_t)(end - at);
    return *mechanism != NULL;
}

static wstep_negotiate_kind_t read_ap_request(wstep_negotiate_t *negotiate, gh_bytes_t der)
{
    AP_REQUEST *request = parse(der, ASN1_ITEM_rptr(AP_REQUEST_TAGGED));
    wstep_negotiate_kind_t kind = WSTEP_NEGOTIATE_MALFORMED;

    if (request) {
        negotiate->ticket = ASN1_INTEGER_get(request->ticket->encrypted->type);
        negotiate->session = ASN1_INTEGER_get(request->authenticator->type);
        kind = WSTEP_NEGOTIATE_KERBEROS;
    }
    ASN1_item_free((ASN1_VALUE *)request, ASN1_ITEM_rptr(AP_REQUEST_TAGGED));
    return kind;
}

/** A token of one mechanism, not of SPNEGO. */
static wstep_negotiate_kind_t read_mechanism(wstep_negotiate_t *negotiate, gh_bytes_t token)
{
    wstep_negotiate_kind_t kind = WSTEP_NEGOTIATE_OTHER;
    ASN1_OBJECT *mechanism = NULL;
    gh_bytes_t inner;

    if (is_ntlm(token)) {
        return WSTEP_NEGOTIATE_NTLM;
    }
    if (!unframe(token, &mechanism, &inner)) {
        return WSTEP_NEGOTIATE_MALFORMED;
    }
    if (object_is(mechanism, OID_KERBEROS) || object_is(mechanism, OID_KERBEROS_MS)) {
        kind = WSTEP_NEGOTIATE_MALFORMED;
        /* TOK_ID of KRB_AP_REQ (RFC 4121 4.1) */
        if (inner.length > 2 && inner.data[0] == 1 && inner.data[1] == 0) {
            inner.data += 2;
            inner.length -= 2;
            kind = read_ap_request(negotiate, inner);
        }
    }
    ASN1_OBJECT_free(mechanism);
    return kind;
}

static wstep_negotiate_kind_t read_wrapped(wstep_negotiate_t *negotiate,
                                           const ASN1_OCTET_STRING *string)
{
    gh_bytes_t token = { ASN1_STRING_get0_data(string),
                         (apr_size_t)ASN1_STRING_length(string) };

    return read_mechanism(negotiate, token);
}

/** A token for a mechanism that is not taken is passed over: another may follow. */
static wstep_negotiate_kind_t read_init(wstep_negotiate_t *negotiate, const NEG_INIT *init)
{
    wstep_negotiate_kind_t kind = WSTEP_NEGOTIATE_OTHER;
    int i, offered = 0;

    for (i = 0; i < sk_ASN1_OBJECT_num(init->mechanisms); ++i) {
        const ASN1_OBJECT *one = sk_ASN1_OBJECT_value(init->mechanisms, i);

        offered += !object_is(one, OID_NTLM);
    }
    if (!offered) {
        return WSTEP_NEGOTIATE_NTLM;
    }
    if (init->token) {
        kind = read_wrapped(negotiate, init->token);
    }
    return kind == WSTEP_NEGOTIATE_NTLM ? WSTEP_NEGOTIATE_OTHER : kind;
}

static wstep_negotiate_kind_t read_spnego(wstep_negotiate_t *negotiate, gh_bytes_t der)
{
    NEG_TOKEN *token = parse(der, ASN1_ITEM_rptr(NEG_TOKEN));
    wstep_negotiate_kind_t kind = WSTEP_NEGOTIATE_MALFORMED;

    if (token && token->type == 0) {
        kind = read_init(negotiate, token->d.init);
    }
    else if (token) {
        kind = token->d.response->token ? read_wrapped(negotiate, token->d.response->token)
                                        : WSTEP_NEGOTIATE_OTHER;
    }
    ASN1_item_free((ASN1_VALUE *)token, ASN1_ITEM_rptr(NEG_TOKEN));
    return kind;
}

void wstep_negotiate_read(wstep_negotiate_t *negotiate, gh_bytes_t token)
{
    ASN1_OBJECT *mechanism = NULL;
    gh_bytes_t inner;

    memset(negotiate, 0, sizeof(*negotiate));
    if (!token.length || token.length > WSTEP_NEGOTIATE_SIZE_MAX) {
        return;
    }
    if (unframe(token, &mechanism, &inner) && object_is(mechanism, OID_SPNEGO)) {
        negotiate->kind = read_spnego(negotiate, inner);
    }
    else if (mechanism || is_ntlm(token)) {
        negotiate->kind = read_mechanism(negotiate, token);
    }
    else {
        /* what follows a first token has no frame (RFC 4178 4.2) */
        negotiate->kind = read_spnego(negotiate, token);
    }
    ASN1_OBJECT_free(mechanism);
    ERR_clear_error();
}

wstep_encryption_t wstep_negotiate_encryption(long type)
{
    switch (type) {
    case 17: case 18:               /* AES with SHA-1, RFC 3962 */
    case 19: case 20:               /* AES with SHA-2, RFC 8009 */
    case 25: case 26:               /* Camellia, RFC 6803 */
        return WSTEP_ENCRYPTION_GOOD;
    case 16: case 23:               /* 3DES, RC4 */
        return WSTEP_ENCRYPTION_OLD;
    default:
        return WSTEP_ENCRYPTION_REFUSED;
    }
}
