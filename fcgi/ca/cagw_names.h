/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_cagw_names_h
#define fcgi_ca_cagw_names_h

/*
 * Every name of the wire that a CA gateway and we have to agree on, once. What the gateways' own
 * guides print is marked "guide"; the others are what clients of such gateways are seen to send and
 * read, and are to be compared with the OpenAPI document of the gateway at hand. Those of events
 * are also in lib/issuer/events_read.c, which takes them up for gatehousectl and for us.
 */

/* Paths, below the base URL */
#define CAGW_PATH_CAS           "/v1/certificate-authorities"   /* guide */
#define CAGW_PATH_STATUS        "status"                        /* guide */
#define CAGW_PATH_PROPERTIES    "properties"                    /* guide */
#define CAGW_PATH_CAPABILITIES  "capabilities"
#define CAGW_PATH_PROFILES      "profiles"
#define CAGW_PATH_ENROLLMENTS   "enrollments"                   /* guide */
#define CAGW_PATH_CERTIFICATES  "certificates"
#define CAGW_PATH_ACTIONS       "actions"
#define CAGW_PATH_SUBJECTS      "subjects"
#define CAGW_PATH_EVENTS        "certificate-events"            /* guide */

/* Parameters of queries */
#define CAGW_QUERY_FIELDS       "fields"                        /* guide; properties */
#define CAGW_QUERY_START        "startDate"                     /* guide */
#define CAGW_QUERY_PAGE_SIZE    "preferredPageSize"
#define CAGW_QUERY_NEXT         "nextPageIndex"

/* Defaults of what the configuration can spell differently, see cagw_spelling_t */
#define CAGW_SPELLING_SELECTOR  "$fields"                       /* guide: "$field" */
#define CAGW_SPELLING_CA        "ca.certificate,ca.chain"       /* guide: "ca.cert", "ca.chain" */
#define CAGW_SPELLING_VALIDITY  "validityPeriod"                /* guide: also "validity_period" */

/* Envelopes of answers */
#define CAGW_TYPE               "type"                          /* guide */
#define CAGW_TYPE_ERROR         "ErrorResponse"
#define CAGW_ERROR              "error"
#define CAGW_ERROR_CODE         "code"
#define CAGW_ERROR_MESSAGE      "message"
#define CAGW_ERROR_TARGET       "target"
#define CAGW_ERROR_DETAILS      "details"
#define CAGW_ERROR_MORE         "additionalProperties"

/* Enrolment: the request */
#define CAGW_PROFILE_ID         "profileId"                     /* guide */
#define CAGW_CSR                "csr"                           /* guide */
#define CAGW_REQUIRED_FORMAT    "requiredFormat"                /* guide */
#define CAGW_FORMAT             "format"                        /* guide */
#define CAGW_FORMAT_X509        "X509"                          /* guide */
#define CAGW_FORMAT_PEM         "PEM"
#define CAGW_FORMAT_PKCS12      "PKCS12"
#define CAGW_PROTECTION         "protection"
#define CAGW_PROTECTION_TYPE    "PasswordProtection"
#define CAGW_PASSWORD           "password"
#define CAGW_VARIABLES          "subjectVariables"              /* guide */
#define CAGW_SANS               "subjectAltNames"               /* guide */
#define CAGW_VALUE              "value"                         /* guide */
#define CAGW_DER                "der"
#define CAGW_PREVIOUS_SUBJECT   "previousSubjectDn"             /* guide, its place is not */
#define CAGW_INCLUDE_CA         "includeCa"
#define CAGW_OPTIONAL           "optionalCertificateRequestDetails"     /* guide */
#define CAGW_SUBJECT            "subjectDn"                     /* guide */
#define CAGW_SANS_FROM_CSR      "useSANFromCSR"                 /* guide */
#define CAGW_EXTENSIONS         "extensions"                    /* guide */
#define CAGW_OID                "oid"                           /* guide */
#define CAGW_CRITICAL           "critical"                      /* guide */
#define CAGW_KEY_USAGE_PERCENT  "privateKeyUsagePercentage"     /* guide */
#define CAGW_PROPERTIES         "properties"                    /* guide */

/* Types of alternative names, by gh_san_type_t; compared case-insensitively */
#define CAGW_SAN_DNS            "dNSName"                       /* guide */
#define CAGW_SAN_EMAIL          "rfc822Name"                    /* guide */
#define CAGW_SAN_IP             "iPAddress"                     /* guide */
#define CAGW_SAN_URI            "uniformResourceIdentifier"     /* guide */
#define CAGW_SAN_DIRECTORY      "directoryName"
#define CAGW_SAN_RID            "registeredID"                  /* guide */
#define CAGW_SAN_UPN            "UserPrincipalName"             /* guide; see the next */
#define CAGW_SAN_UPN_MISSPELLED "UserPrincipleName"
#define CAGW_SAN_OTHER          "otherName"

/* Enrolment: the answer */
#define CAGW_ENROLLMENT         "enrollment"
#define CAGW_ID                 "id"
#define CAGW_STATUS             "status"
#define CAGW_SERIAL             "serialNumber"
#define CAGW_BODY               "body"                          /* guide */
#define CAGW_CHAIN              "chain"
#define CAGW_CERTIFICATE_DATA   "certificateData"
#define CAGW_ENROLLMENT_REFUSED "REJECTED"

/* Certificates */
#define CAGW_CERTIFICATE        "certificate"
#define CAGW_REVOCATION         "revocationInfo"
#define CAGW_REASON             "reason"
#define CAGW_REVOCATION_DATE    "revocationDate"
#define CAGW_STATUS_NORMAL      "normal"
#define CAGW_STATUS_HELD        "held"
#define CAGW_STATUS_SUSPENDED   "suspended"
#define CAGW_STATUS_REVOKED     "revoked"
#define CAGW_STATUS_EXPIRED     "expired"

/* Actions */
#define CAGW_ACTION             "action"
#define CAGW_ACTION_REVOKE      "RevokeAction"                  /* guide */
#define CAGW_ACTION_HOLD        "HoldAction"                    /* guide */
#define CAGW_ACTION_RELEASE     "UnholdAction"                  /* guide */
#define CAGW_ACTION_COMMENT     "comment"
#define CAGW_ACTION_CRL         "issueCrl"
#define CAGW_ACTION_CRL_NOW     "true"                          /* a text */
#define CAGW_ACTION_COMPLETED   "COMPLETED"
#define CAGW_ACTION_ACCEPTED    "ACCEPTED"
#define CAGW_ACTION_REJECTED    "REJECTED"

/* Events */
#define CAGW_EVENTS             "events"
#define CAGW_EVENTS_NEXT        "nextPageIndex"
#define CAGW_EVENTS_MORE        "morePages"
#define CAGW_EVENT_DATE         "eventDate"
#define CAGW_EVENT_REVOKED      "revoked"

/* CAs and what they can do */
#define CAGW_CA_LIST            "caList"
#define CAGW_CA                 "ca"
#define CAGW_NAME               "name"
#define CAGW_CA_CONNECTOR       "connector-name"
#define CAGW_STATUS_UP          "UP"                            /* guide */
#define CAGW_CA_PROPERTIES      "CAPropertiesInformation"       /* guide */
#define CAGW_CAPABILITIES       "capabilities"

/* Capabilities that we need */
#define CAGW_CAN_ENROL          "EnrollmentByCSR"               /* guide */
#define CAGW_CAN_X509           "X509CertificateResponse"       /* guide */
#define CAGW_CAN_SUBJECT        "SubjectNameInRequest"          /* guide */
#define CAGW_CAN_SANS           "SANInRequest"                  /* guide */
#define CAGW_CAN_REVOKE         "RevokeAction"                  /* guide */
#define CAGW_CAN_HOLD           "HoldAction"                    /* guide */
#define CAGW_CAN_RELEASE        "UnholdAction"                  /* guide */
#define CAGW_CAN_EVENTS         "CertificateEvents"             /* guide */

/* Profiles */
#define CAGW_PROFILES           "profiles"
#define CAGW_PROFILE            "profile"
#define CAGW_PROFILE_VARIABLES  "subjectVariableRequirements"
#define CAGW_PROFILE_SANS       "subjectAltNameRequirements"
#define CAGW_PROFILE_PROPERTIES "requestedProperties"
#define CAGW_REQUIRED           "required"

#endif /* fcgi_ca_cagw_names_h */
