/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef bench_support_h
#define bench_support_h

#include <stddef.h>
#include <stdio.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* What the benchmark programs share. They end with a message at the first error. */

/* SCEP's signed attributes (RFC 8894 3.2.1) */
#define SCEP_OID_MESSAGE_TYPE       "2.16.840.1.113733.1.9.2"
#define SCEP_OID_PKI_STATUS         "2.16.840.1.113733.1.9.3"
#define SCEP_OID_SENDER_NONCE       "2.16.840.1.113733.1.9.5"
#define SCEP_OID_RECIPIENT_NONCE    "2.16.840.1.113733.1.9.6"
#define SCEP_OID_TRANSACTION_ID     "2.16.840.1.113733.1.9.7"

typedef struct bench_pack bench_pack_t;
typedef struct bench_message bench_message_t;

struct bench_message {
    const unsigned char *data;
    size_t length;
};

/** Messages in one file, each preceded by its length in four bytes, the highest first. */
struct bench_pack {
    bench_message_t *messages;
    size_t count;
};

void bench_pack_open(bench_pack_t *pack, const char *path);
void bench_pack_add(FILE *file, const unsigned char *data, size_t length);

_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Ends the program with OpenSSL's errors unless value is true. */
void bench_need(int value, const char *what);

size_t bench_number(const char *text, const char *what);

/** Seconds of the monotonic clock. */
double bench_now(void);

X509 *bench_read_certificate(const char *path);
EVP_PKEY *bench_read_key(const char *path);

/** The one signature of a message; the program ends if there are more or none. */
CMS_SignerInfo *bench_signer(CMS_ContentInfo *cms);

/** Value of a signed attribute that has one, of the type given; NULL for another. Borrowed. */
ASN1_STRING *bench_attribute(CMS_SignerInfo *si, const char *oid, int type);

#endif /* bench_support_h */
