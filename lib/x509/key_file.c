/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "x509/ca.h"
#include "x509/key.h"
#include "x509/key_pkcs11.h"
#include "x509/own.h"

/** Iterations of PBKDF2 for key files that we write. */
#define KEY_FILE_ITERATIONS 200000

/** What the reader of a PEM file asks for, and whether it asked. */
typedef struct {
    gh_bytes_t passphrase;
    int asked;
} passphrase_t;

static int give_passphrase(char *buffer, int size, int writing, void *data)
{
    passphrase_t *passphrase = data;

    passphrase->asked = 1;
    if (passphrase->passphrase.data == NULL || passphrase->passphrase.length > (apr_size_t)size)
        return -1;
    memcpy(buffer, passphrase->passphrase.data, passphrase->passphrase.length);
    return (int)passphrase->passphrase.length;
}

static int is_pem(const gh_file_t *file)
{
    return strstr((const char *)file->bytes.data, "-----BEGIN ") != NULL;
}

static int pem_has_key(const gh_file_t *file)
{
    return strstr((const char *)file->bytes.data, "PRIVATE KEY-----") != NULL;
}

static int is_pkcs12(const gh_file_t *file)
{
    const unsigned char *data = file->bytes.data;
    PKCS12 *pkcs12 = d2i_PKCS12(NULL, &data, (long)file->bytes.length);
    int is = pkcs12 != NULL;

    ERR_clear_error();
    PKCS12_free(pkcs12);
    return is;
}

static apr_status_t refuse_exposed(const char *path, gh_result_t *result)
{
    return gh_result_fail(result, APR_EACCES, GH_FAILURE_DENIED, "key.permissions",
                          "chmod 600 the file, and let it belong to the user who starts httpd",
                          GHNO(0100) "%s holds a private key and is accessible to group or others: "
                          "chmod 600 %s", path, path);
}

static apr_status_t load_passphrase(passphrase_t *passphrase, const char *source, apr_pool_t *p,
                                    gh_result_t *result)
{
    memset(passphrase, 0, sizeof(*passphrase));
    if (source == NULL)
        return APR_SUCCESS;
    return gh_secret_load(&passphrase->passphrase, source, p, result);
}

/** Opens a PKCS#12 file. @param key, certificate either may be NULL: not wanted */
static apr_status_t read_pkcs12(const gh_file_t *file, const char *path,
                                const passphrase_t *passphrase, EVP_PKEY **key,
                                X509 **certificate, apr_pool_t *ptemp, gh_result_t *result)
{
    const unsigned char *data = file->bytes.data;
    const char *secret = NULL;
    PKCS12 *pkcs12 = d2i_PKCS12(NULL, &data, (long)file->bytes.length);
    apr_status_t rv = APR_SUCCESS;

    if (pkcs12 == NULL || data != file->bytes.data + file->bytes.length) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "key.file",
                            "name a PEM or PKCS#12 file",
                            GHNO(0101) "%s is neither PEM nor PKCS#12", path);
        goto cleanup;
    }
    if (passphrase->passphrase.data != NULL)
        secret = gh_copy_secret(ptemp, passphrase->passphrase.data, passphrase->passphrase.length);
    if (PKCS12_parse(pkcs12, secret, key, certificate, NULL) != 1)
        rv = gh_result_openssl(result, APR_EINVAL, GH_FAILURE_DENIED, "key.passphrase",
                               "give the right passphrase=file:PATH or passphrase=exec:PATH; "
                               "export a file with RC2 or 3DES anew with 'openssl pkcs12 -export'",
                               GHNO(0102) "cannot open the PKCS#12 file %s", path);

cleanup:
    ERR_clear_error();
    PKCS12_free(pkcs12);
    return rv;
}

static apr_status_t read_pem_key(const gh_file_t *file, const char *path, passphrase_t *passphrase,
                                 EVP_PKEY **key, gh_result_t *result)
{
    BIO *bio = BIO_new_mem_buf(file->bytes.data, (int)file->bytes.length);
    apr_status_t rv = APR_SUCCESS;

    ERR_clear_error();
    *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, passphrase) : NULL;
    if (*key == NULL && passphrase->asked && passphrase->passphrase.data == NULL)
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "key.passphrase",
                            "add passphrase=file:PATH or passphrase=exec:PATH",
                            GHNO(0103) "the key in %s is encrypted and no passphrase is configured",
                            path);
    else if (*key == NULL && passphrase->asked)
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "key.passphrase",
                            "check what the configured passphrase source gives",
                            GHNO(0104) "the passphrase does not open the key in %s", path);
    else if (*key == NULL)
        rv = gh_result_openssl(result, APR_EINVAL, GH_FAILURE_MALFORMED, "key.file",
                               "name a file with a PEM private key",
                               GHNO(0105) "%s has no private key that can be read", path);
    ERR_clear_error();
    BIO_free(bio);
    return rv;
}

static apr_status_t check_kind(EVP_PKEY *key, const char *source, gh_result_t *result)
{
    if (gh_key_kind(key) != NULL)
        return APR_SUCCESS;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "key.kind",
                          "use RSA with 2048, 3072 or 4096 bits, or P-256, P-384 or P-521 as a "
                          "named curve",
                          GHNO(0106) "the key in %s is of a kind that is not used here", source);
}

apr_status_t gh_key_open(EVP_PKEY **key, const char *source, const char *passphrase,
                         apr_pool_t *p, gh_result_t *result)
{
    passphrase_t secret;
    EVP_PKEY *opened = NULL;
    apr_pool_t *ptemp = NULL;
    gh_file_t file;
    apr_status_t rv;

    *key = NULL;
    rv = apr_pool_create(&ptemp, p);
    if (rv != APR_SUCCESS)
        return rv;
    if (gh_key_is_token(source)) {
        rv = gh_key_open_token(&opened, source, passphrase, ptemp, result);
    }
    else {
        rv = gh_file_read(&file, source, ptemp, result);
        if (rv == APR_SUCCESS && file.exposed)
            rv = refuse_exposed(source, result);
        if (rv == APR_SUCCESS)
            rv = load_passphrase(&secret, passphrase, ptemp, result);
        if (rv == APR_SUCCESS && is_pem(&file)) {
            rv = read_pem_key(&file, source, &secret, &opened, result);
        }
        else if (rv == APR_SUCCESS) {
            X509 *unused = NULL;

            rv = read_pkcs12(&file, source, &secret, &opened, &unused, ptemp, result);
            X509_free(unused);
        }
    }
    if (rv == APR_SUCCESS)
        rv = check_kind(opened, source, result);
    if (rv == APR_SUCCESS)
        *key = gh_own_key(p, opened);
    else
        EVP_PKEY_free(opened);
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t gh_certificate_open(X509 **certificate, const char *path, const char *passphrase,
                                 apr_pool_t *p, gh_result_t *result)
{
    X509 *opened = NULL;
    EVP_PKEY *unused = NULL;
    passphrase_t secret;
    apr_pool_t *ptemp = NULL;
    gh_file_t file;
    apr_status_t rv;

    *certificate = NULL;
    rv = apr_pool_create(&ptemp, p);
    if (rv != APR_SUCCESS)
        return rv;
    rv = gh_file_read(&file, path, ptemp, result);
    if (rv == APR_SUCCESS && !is_pem(&file))
        *certificate = gh_certificate_parse(file.bytes, p);
    if (rv != APR_SUCCESS || *certificate != NULL)
        goto cleanup;
    if (file.exposed && (is_pem(&file) ? pem_has_key(&file) : is_pkcs12(&file)))
        rv = refuse_exposed(path, result);
    if (rv == APR_SUCCESS)
        rv = load_passphrase(&secret, passphrase, ptemp, result);
    if (rv == APR_SUCCESS && is_pem(&file)) {
        BIO *bio = BIO_new_mem_buf(file.bytes.data, (int)file.bytes.length);

        opened = PEM_read_bio_X509(bio, NULL, give_passphrase, &secret);
        BIO_free(bio);
    }
    else if (rv == APR_SUCCESS) {
        rv = read_pkcs12(&file, path, &secret, &unused, &opened, ptemp, result);
        EVP_PKEY_free(unused);
    }
    if (rv == APR_SUCCESS && opened == NULL)
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "certificate.file",
                            "name a file with a PEM or DER certificate, or a PKCS#12 file that "
                            "has one",
                            GHNO(0107) "%s has no certificate that can be read", path);
    ERR_clear_error();
    *certificate = gh_own_certificate(p, opened);

cleanup:
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t gh_certificates_open(apr_array_header_t **certificates, const char *path,
                                  apr_pool_t *p, gh_result_t *result)
{
    passphrase_t none;
    X509 *one;
    BIO *bio;
    gh_file_t file;
    apr_status_t rv;
    unsigned long error;

    memset(&none, 0, sizeof(none));
    *certificates = apr_array_make(p, 4, sizeof(X509 *));
    rv = gh_file_read(&file, path, p, result);
    if (rv != APR_SUCCESS)
        return rv;
    if (file.exposed && pem_has_key(&file))
        return refuse_exposed(path, result);
    ERR_clear_error();
    bio = BIO_new_mem_buf(file.bytes.data, (int)file.bytes.length);
    while ((one = PEM_read_bio_X509(bio, NULL, give_passphrase, &none)) != NULL)
        APR_ARRAY_PUSH(*certificates, X509 *) = gh_own_certificate(p, one);
    BIO_free(bio);
    /* The end of the file shows as "no start line"; anything else is a broken certificate. */
    error = ERR_peek_last_error();
    ERR_clear_error();
    if ((*certificates)->nelts == 0 || ERR_GET_LIB(error) != ERR_LIB_PEM
        || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "certificate.file",
                              "name a file with PEM certificates only",
                              GHNO(0108) "%s: certificate %d cannot be read", path,
                              (*certificates)->nelts + 1);
    return APR_SUCCESS;
}

/** Writes a key to memory as PEM. */
static BIO *key_to_pem(EVP_PKEY *key, const gh_bytes_t *passphrase)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_SIG *encrypted = NULL;
    int written = 0;

    if (bio == NULL || info == NULL)
        goto cleanup;
    if (passphrase == NULL) {
        written = PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info);
        goto cleanup;
    }
    encrypted = PKCS8_encrypt(-1, EVP_aes_256_cbc(), (const char *)passphrase->data,
                              (int)passphrase->length, NULL, 0, KEY_FILE_ITERATIONS, info);
    if (encrypted != NULL)
        written = PEM_write_bio_PKCS8(bio, encrypted);

cleanup:
    X509_SIG_free(encrypted);
    PKCS8_PRIV_KEY_INFO_free(info);
    if (!written) {
        BIO_free(bio);
        bio = NULL;
    }
    return bio;
}

static apr_status_t write_all(int fd, const char *data, apr_size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return APR_FROM_OS_ERROR(errno);
        data += n;
        length -= (apr_size_t)n;
    }
    return fsync(fd) == 0 ? APR_SUCCESS : APR_FROM_OS_ERROR(errno);
}

/** Makes the name durable that a new file has in its folder. */
static apr_status_t sync_folder(const char *path, apr_pool_t *ptemp)
{
    int fd = open(dirname(apr_pstrdup(ptemp, path)), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0 || fsync(fd) != 0)
        rv = APR_FROM_OS_ERROR(errno);
    if (fd >= 0)
        close(fd);
    return rv;
}

apr_status_t gh_key_write(EVP_PKEY *key, const char *path, const gh_bytes_t *passphrase,
                          apr_pool_t *ptemp, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    BIO *bio = key_to_pem(key, passphrase);
    char *data = NULL;
    long length;
    int fd;

    if (bio == NULL)
        return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_INTERNAL, "key.write",
                                 "a key that lies on a token cannot be exported",
                                 GHNO(0109) "cannot export a private key to %s", path);
    length = BIO_get_mem_data(bio, &data);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        rv = APR_FROM_OS_ERROR(errno);
        gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "key.write",
                       "choose another path; an existing key is never overwritten",
                       GHNO(0110) "cannot create %s: %s", path, strerror(rv));
        goto cleanup;
    }
    rv = write_all(fd, data, (apr_size_t)length);
    if (rv == APR_SUCCESS)
        rv = sync_folder(path, ptemp);
    close(fd);
    if (rv != APR_SUCCESS) {
        unlink(path);
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "key.write", "check the file system",
                       GHNO(0111) "cannot write %s: %s", path, strerror(rv));
    }

cleanup:
    BIO_free(bio);
    return rv;
}
