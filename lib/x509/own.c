/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "x509/key.h"
#include "x509/own.h"

/** Larger than any file of keys and certificates that is meant to be read here. */
#define FILE_MAX (4 * 1024 * 1024)

#define OWNER(function, type, destroy)                                                          \
    static apr_status_t function##_cleanup(void *data)                                          \
    {                                                                                           \
        destroy(data);                                                                          \
        return APR_SUCCESS;                                                                     \
    }                                                                                           \
    type *function(apr_pool_t *p, type *object)                                                 \
    {                                                                                           \
        if (object != NULL)                                                                     \
            apr_pool_cleanup_register(p, object, function##_cleanup, apr_pool_cleanup_null);    \
        return object;                                                                          \
    }

static void free_extensions(STACK_OF(X509_EXTENSION) *extensions)
{
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

OWNER(gh_own_key, EVP_PKEY, EVP_PKEY_free)
OWNER(gh_own_certificate, X509, X509_free)
OWNER(gh_own_name, X509_NAME, X509_NAME_free)
OWNER(gh_own_request, X509_REQ, X509_REQ_free)
OWNER(gh_own_public_key, X509_PUBKEY, X509_PUBKEY_free)
OWNER(gh_own_extension, X509_EXTENSION, X509_EXTENSION_free)
OWNER(gh_own_extensions, STACK_OF(X509_EXTENSION), free_extensions)
OWNER(gh_own_general_names, GENERAL_NAMES, GENERAL_NAMES_free)

/** Bytes with an owner, for cleanups. */
typedef struct {
    unsigned char *data;
    apr_size_t length;
    int allocated;              /* by OpenSSL, not in a pool */
    int secret;
} owned_t;

static apr_status_t owned_cleanup(void *data)
{
    owned_t *owned = data;

    if (owned->secret)
        OPENSSL_cleanse(owned->data, owned->length);
    if (owned->allocated)
        OPENSSL_free(owned->data);
    return APR_SUCCESS;
}

static void own(apr_pool_t *p, void *data, apr_size_t length, int allocated, int secret)
{
    owned_t *owned = apr_palloc(p, sizeof(*owned));

    owned->data = data;
    owned->length = length;
    owned->allocated = allocated;
    owned->secret = secret;
    apr_pool_cleanup_register(p, owned, owned_cleanup, apr_pool_cleanup_null);
}

gh_bytes_t gh_own_bytes(apr_pool_t *p, unsigned char *data, apr_size_t length, int secret)
{
    gh_bytes_t bytes = { data, length };

    if (data != NULL)
        own(p, data, length, 1, secret);
    return bytes;
}

char *gh_copy_secret(apr_pool_t *p, const void *data, apr_size_t length)
{
    char *copy = apr_pstrmemdup(p, data, length);

    own(p, copy, length, 0, 1);
    return copy;
}

static apr_status_t read_all(int fd, unsigned char *buffer, apr_size_t length)
{
    apr_size_t done = 0;

    while (done < length) {
        ssize_t n = read(fd, buffer + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return APR_FROM_OS_ERROR(errno);
        if (n == 0)
            return APR_EOF;
        done += (apr_size_t)n;
    }
    return APR_SUCCESS;
}

apr_status_t gh_file_read(gh_file_t *file, const char *path, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    unsigned char *buffer;
    struct stat info;
    int fd;

    memset(file, 0, sizeof(*file));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        rv = APR_FROM_OS_ERROR(errno);
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "file",
                       "check the path and the permissions of the file and its folders",
                       GHNO(0091) "cannot open %s: %s", path, strerror(rv));
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode) || info.st_size > FILE_MAX) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "file",
                            "name a PEM or PKCS#12 file",
                            GHNO(0092) "%s is not a file, or larger than 4 MB", path);
        goto cleanup;
    }
    file->exposed = (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
    buffer = apr_palloc(p, (apr_size_t)info.st_size + 1);
    buffer[info.st_size] = '\0';
    own(p, buffer, (apr_size_t)info.st_size, 0, 1);
    rv = read_all(fd, buffer, (apr_size_t)info.st_size);
    if (rv != APR_SUCCESS) {
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "file", "try again",
                       GHNO(0093) "cannot read %s", path);
        goto cleanup;
    }
    file->bytes.data = buffer;
    file->bytes.length = (apr_size_t)info.st_size;

cleanup:
    if (fd >= 0)
        close(fd);
    return rv;
}

int gh_oid_copy(char buffer[GH_OID_SIZE], const ASN1_OBJECT *object)
{
    int length;

    /* Conversion of a long OID to decimal is quadratic (CVE-2023-2650). */
    if (object == NULL || OBJ_length(object) == 0 || OBJ_length(object) > GH_OID_SIZE / 2)
        return 0;
    length = OBJ_obj2txt(buffer, GH_OID_SIZE, object, 1);
    return length > 0 && length < GH_OID_SIZE;
}

const char *gh_oid_text(const ASN1_OBJECT *object, apr_pool_t *p)
{
    char buffer[GH_OID_SIZE];

    if (!gh_oid_copy(buffer, object))
        return "(an unreasonably long object identifier)";
    return apr_pstrdup(p, buffer);
}

void *gh_extension_value(const X509_EXTENSION *extension, const ASN1_ITEM *item)
{
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data((X509_EXTENSION *)extension);
    const unsigned char *bytes = ASN1_STRING_get0_data(data);
    const unsigned char *end = bytes + ASN1_STRING_length(data);
    ASN1_VALUE *value = ASN1_item_d2i(NULL, &bytes, ASN1_STRING_length(data), item);

    if (value != NULL && bytes != end) {
        ASN1_item_free(value, item);
        value = NULL;
    }
    ERR_clear_error();
    return value;
}

int gh_public_key_set(X509_PUBKEY *target, const X509_PUBKEY *source)
{
    X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *object = NULL;
    const void *value = NULL;
    const unsigned char *bits = NULL;
    unsigned char *copy = NULL;
    void *parameter = NULL;
    int type = V_ASN1_UNDEF, length = 0;

    if (!X509_PUBKEY_get0_param(NULL, &bits, &length, &algorithm, source) || length <= 0)
        return 0;
    X509_ALGOR_get0(&object, &type, &value, algorithm);
    if (type == V_ASN1_OBJECT)
        parameter = OBJ_dup(value);
    else if (type != V_ASN1_NULL && type != V_ASN1_UNDEF)
        return 0;
    copy = OPENSSL_memdup(bits, (size_t)length);
    if (copy == NULL || (type == V_ASN1_OBJECT && parameter == NULL)
        || !X509_PUBKEY_set0_param(target, OBJ_dup(object), type, parameter, copy, length)) {
        OPENSSL_free(copy);
        ASN1_OBJECT_free(parameter);
        return 0;
    }
    return 1;
}

X509_PUBKEY *gh_public_key_copy(const X509_PUBKEY *key)
{
    X509_PUBKEY *copy = key != NULL ? X509_PUBKEY_dup(key) : NULL;

    if (copy != NULL && !gh_public_key_set(copy, key)) {
        X509_PUBKEY_free(copy);
        copy = NULL;
    }
    return copy;
}
