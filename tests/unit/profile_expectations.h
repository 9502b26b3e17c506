/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_profile_expectations_h
#define tests_unit_profile_expectations_h

/*
 * What each of the 79 profiles must give, written down from the description of the profiles and not
 * from conf.d/profiles.conf.
 *
 * usages: D digitalSignature, N nonRepudiation, K keyEncipherment, E dataEncipherment,
 *   A keyAgreement, C keyCertSign, R cRLSign
 * ekus: S serverAuth, C clientAuth, X codeSigning, M emailProtection, O OCSPSigning, L smart-card
 *   logon, * anyExtendedKeyUsage; "?" from the request; "" none
 * set: which extensions are taken from requests: A (Windows, SCEP, ...), C (TLS, general), D (smart
 *   cards), P (policies only), "-" none
 */
typedef struct {
    const char *name;
    const char *usages;
    const char *ekus;
    char set;
    int days;
    int p12;
    const char *alias;
} expectation_t;

static const expectation_t expectations[] = {
    { "basic-ca-root", "DCR", "", '-', 7300, 0, NULL },
    { "basic-ca-subord", "DCR", "", '-', 3650, 0, NULL },
    { "basic-ocsp", "D", "O", '-', 30, 0, NULL },
    { "azure-firewall-ca-subord", "DCR", "", 'P', 365, 0, NULL },
    { "tlsproxy-ca-subord", "DCR", "SC", 'P', 365, 0, NULL },

    { "wstep-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "wstep-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "wstep-signature-key-encipherment" },
    { "wstep-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "wstep-non-repudiation", "DN", "?", 'A', 365, 0, NULL },
    { "wstep-non-repudiation-key-encipherment", "DNK", "?", 'A', 365, 0, NULL },
    { "scep-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "scep-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "scep-signature-key-encipherment" },
    { "scep-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "scep-non-repudiation", "DN", "?", 'A', 365, 0, NULL },
    { "est-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "est-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "est-signature-key-encipherment" },
    { "est-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "est-non-repudiation", "DN", "?", 'A', 365, 0, NULL },
    { "cmp-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "cmp-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "cmp-signature-key-encipherment" },
    { "cmp-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "cmp-non-repudiation", "DN", "?", 'A', 365, 0, NULL },

    { "intune-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "intune-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "intune-signature-key-encipherment" },
    { "intune-digital-signature-key-encipherment-clientauth", "DK", "C", 'A', 365, 0, NULL },
    { "intune-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "intune-non-repudiation", "DN", "?", 'A', 365, 0, NULL },

    { "mdmws-digital-signature", "D", "?", 'A', 365, 0, NULL },
    { "mdmws-digital-signature-key-encipherment", "DK", "?", 'A', 365, 0,
      "mdmws-signature-key-encipherment" },
    { "mdmws-digital-signature-key-encipherment-clientauth", "DK", "C", 'A', 365, 0, NULL },
    { "mdmws-key-encipherment", "K", "?", 'A', 365, 0, NULL },
    { "mdmws-non-repudiation", "DN", "?", 'A', 365, 0, NULL },
    { "mdmws-p12-digital-signature", "D", "?", 'A', 365, 1, NULL },
    { "mdmws-p12-digital-signature-key-encipherment", "DK", "?", 'A', 365, 1, NULL },
    { "mdmws-p12-digital-signature-key-encipherment-clientauth", "DK", "C", 'A', 365, 1, NULL },
    { "mdmws-p12-key-encipherment", "K", "?", 'A', 365, 1, NULL },
    { "mdmws-p12-non-repudiation", "DN", "?", 'A', 365, 1, NULL },

    { "privatessl-tls-client", "D", "C", 'C', 365, 0, NULL },
    { "privatessl-tls-client-server", "D", "CS", 'C', 365, 0, NULL },
    { "privatessl-tls-client-server-data-encipherment", "DE", "CS", 'C', 365, 0, NULL },
    { "privatessl-tls-client-server-supply-san", "D", "CS", 'C', 365, 0, NULL },
    { "privatessl-tls-server", "D", "S", 'C', 365, 0, NULL },
    { "privatessl-tls-server-supply-san", "D", "S", 'C', 365, 0, NULL },

    { "codesigning-digital-signature", "D", "X", '-', 365, 0, NULL },
    { "mobile-device-p12-digital-signature-client-authentication", "D", "C", '-', 365, 1, NULL },
    { "smime-digital-signature-key-encipherment", "DK", "CM", '-', 365, 0, NULL },
    { "smime-key-encipherment", "K", "M", '-', 365, 0, NULL },
    { "smime-non-repudiation", "DN", "M", '-', 365, 0, NULL },
    { "smartcard-card-authentication", "D", "?", 'D', 365, 0, NULL },
    { "smartcard-digital-signature", "DN", "?", 'D', 365, 0, NULL },
    { "smartcard-domain-controller", "DK", "SC", '-', 365, 0, NULL },
    { "smartcard-key-management", "K", "?", 'D', 365, 0, NULL },
    { "smartcard-piv-authentication", "D", "*LC", 'D', 365, 0, NULL },
    { "smartcard-piv-content-signing", "DN", "?", '-', 365, 0, NULL },
    { "v2g-supply-equipment", "DA", "S", '-', 365, 0, NULL },
    { "v2g-user-identity", "DN", "", '-', 730, 0, NULL },
    { "esim-delivery-auth", "D", "", '-', 1095, 0, NULL },
    { "esim-delivery-binding", "D", "", '-', 1095, 0, NULL },
    { "esim-delivery-tls-server", "D", "S", '-', 1095, 0, NULL },
    { "esim-discovery-auth", "D", "", '-', 1095, 0, NULL },
    { "esim-discovery-tls-server", "D", "S", '-', 1095, 0, NULL },

    { "multiuse-p12-client", "DA", "C", 'C', 365, 1, NULL },
    { "multiuse-p12-client-server", "DA", "CS", 'C', 365, 1, NULL },
    { "multiuse-p12-custom", "DA", "?", 'C', 365, 1, NULL },
    { "multiuse-p12-server", "DA", "S", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-client", "DAK", "C", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-client-server", "DAK", "CS", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-custom", "DAK", "?", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-server", "DAK", "S", 'C', 365, 1, NULL },
    { "multiuse-p12-non-repudiation-client", "DAN", "C", 'C', 365, 1, NULL },
    { "multiuse-p12-non-repudiation-client-server", "DAN", "CS", 'C', 365, 1, NULL },
    { "multiuse-p12-non-repudiation-custom", "DAN", "?", 'C', 365, 1, NULL },
    { "multiuse-p12-non-repudiation-server", "DAN", "S", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-non-repudiation-client", "DAKN", "C", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-non-repudiation-client-server", "DAKN", "CS", 'C', 365, 1,
      NULL },
    { "multiuse-p12-key-encipherment-non-repudiation-custom", "DAKN", "?", 'C', 365, 1, NULL },
    { "multiuse-p12-key-encipherment-non-repudiation-server", "DAKN", "S", 'C', 365, 1, NULL },
    { "multiuse-p12-key-data-encipherment-non-repudiation-client", "DNKE", "C", 'C', 365, 1, NULL },
    { "multiuse-p12-key-data-encipherment-non-repudiation-client-server", "DNKE", "CS", 'C', 365,
      1, NULL },
};

#define EXPECTATIONS (sizeof(expectations) / sizeof(expectations[0]))

#endif /* tests_unit_profile_expectations_h */
