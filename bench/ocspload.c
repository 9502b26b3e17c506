/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * OCSP load: sends the requests of a pack (ocspmake) in turn. What the answers say is looked at
 * when all have come: each begins as a successful OCSPResponse, and one in SAMPLE is parsed; or,
 * with -l, each is a body of that length. So a server is asked at the same pace in either case.
 * With -t every answer is parsed, and each request gets a line: number in the pack, seconds since
 * 1970 when it was due and when its answer had come, and the status (good, revoked, unknown, or the
 * OCSP or HTTP error).
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ocsp.h>

#include "bench/load.h"
#include "bench/support.h"

/** An answer whose status cannot be told. */
#define STATUS_WRONG (-100)

/** One answer in so many is kept to be parsed. */
#define SAMPLE 16

/** HTTP errors are -1000 less their status, OCSP errors -1 less theirs. */
#define HTTP_ERROR (-1000)

typedef struct {
    double due;
    double done;
    unsigned char *body;        /* until it was looked at; NULL if it is not parsed */
    uint32_t length;
    int status;
} answer_t;

static struct {
    bench_pack_t pack;
    size_t first;
    size_t same;                /* length that every answer must have; 0: they are parsed */
    answer_t *answers;
    size_t sample;              /* one answer in so many is parsed */
    int tolerant;               /* other answers than 200 are counted, and do not end the run */
} ocsp;

static size_t message_number(size_t n)
{
    return (ocsp.first + n) % ocsp.pack.count;
}

static int request(const bench_load_t *load, size_t n, struct iovec parts[LOAD_PARTS])
{
    const bench_message_t *message = &ocsp.pack.messages[message_number(n)];

    parts[0].iov_base = (void *)message->data;
    parts[0].iov_len = message->length;
    return 1;
}

/* SEQUENCE with a length of two bytes, responseStatus successful (RFC 6960 4.2.1) */
static int begins_well(const unsigned char *body, size_t length)
{
    static const unsigned char status[] = { 0x0a, 1, 0 };

    return length > 7 && body[0] == 0x30 && body[1] == 0x82
        && (size_t)(body[2] << 8 | body[3]) == length - 4
        && memcmp(body + 4, status, sizeof(status)) == 0;
}

static void keep(bench_load_t *load, size_t n, const unsigned char *body, size_t length,
                 double due, double done)
{
    answer_t *answer = &ocsp.answers[n];

    answer->due = due;
    answer->done = done;
    answer->length = (uint32_t)length;
    if (ocsp.same) {
        answer->status = length == ocsp.same ? 0 : STATUS_WRONG;
    }
    else if (n % ocsp.sample == 0) {
        answer->body = malloc(length ? length : 1);
        bench_need(answer->body != NULL, "getting memory");
        memcpy(answer->body, body, length);
    }
    else {
        answer->status = begins_well(body, length) ? 0 : STATUS_WRONG;
    }
}

static int keep_error(bench_load_t *load, size_t n, int status, double due, double done)
{
    answer_t *answer = &ocsp.answers[n];

    answer->due = due;
    answer->done = done;
    answer->status = HTTP_ERROR - status;
    return ocsp.tolerant;
}

static int status_of(const answer_t *answer)
{
    const unsigned char *at = answer->body;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)answer->length);
    OCSP_BASICRESP *basic = NULL;
    int status = STATUS_WRONG;

    if (response && OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        status = -1 - OCSP_response_status(response);
    }
    else if (response && (basic = OCSP_response_get1_basic(response)) != NULL
             && OCSP_resp_count(basic) == 1) {
        status = OCSP_single_get0_status(OCSP_resp_get0(basic, 0), NULL, NULL, NULL, NULL);
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return status;
}

/** @return how many answers are not what they should be */
static size_t look(size_t count)
{
    size_t i, wrong = 0;

    for (i = 0; i < count; ++i) {
        answer_t *answer = &ocsp.answers[i];

        if (answer->body) {
            answer->status = status_of(answer);
            free(answer->body);
        }
        wrong += answer->status < 0;
    }
    return wrong;
}

static void write_times(const bench_load_t *load, const char *path, double offset)
{
    FILE *file = fopen(path, "w");
    size_t i;

    bench_need(file != NULL, path);
    for (i = 0; i < load->count; ++i) {
        const answer_t *answer = &ocsp.answers[i];
        char text[32];

        if (answer->status >= 0) {
            snprintf(text, sizeof(text), "%s", OCSP_cert_status_str(answer->status));
        }
        else if (answer->status <= HTTP_ERROR) {
            snprintf(text, sizeof(text), "http-%d", HTTP_ERROR - answer->status);
        }
        else {
            snprintf(text, sizeof(text), "%s", answer->status == STATUS_WRONG ? "wrong"
                     : OCSP_response_status_str(-1 - answer->status));
        }
        fprintf(file, "%zu %.6f %.6f %s\n", message_number(i), answer->due + offset,
                answer->done + offset, text);
    }
    bench_need(fclose(file) == 0, path);
}

static int by_time(const void *one, const void *other)
{
    double a = ((const answer_t *)one)->done - ((const answer_t *)one)->due;
    double b = ((const answer_t *)other)->done - ((const answer_t *)other)->due;

    return (a > b) - (a < b);
}

static double microseconds(const bench_load_t *load, size_t thousandths)
{
    const answer_t *answer = &ocsp.answers[(load->count - 1) * thousandths / 1000];

    return (answer->done - answer->due) * 1e6;
}

int main(int argc, char **argv)
{
    bench_load_t load = { .connections = 16, .count = 1000, .request = request, .answer = keep,
                          .other = keep_error };
    const char *times = NULL;
    struct timespec wall;
    double offset;
    size_t wrong;
    int option;

    while ((option = getopt(argc, argv, "c:f:n:r:l:t:k")) != -1) {
        switch (option) {
        case 'c':
            load.connections = bench_number(optarg, "-c");
            break;
        case 'f':
            ocsp.first = bench_number(optarg, "-f");
            break;
        case 'n':
            load.count = bench_number(optarg, "-n");
            break;
        case 'r':
            load.rate = (double)bench_number(optarg, "-r");
            break;
        case 'l':
            ocsp.same = bench_number(optarg, "-l");
            break;
        case 't':
            times = optarg;
            break;
        case 'k':
            ocsp.tolerant = 1;
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 3 || !load.count) {
        bench_die("usage: ocspload [-c CONNECTIONS] [-n COUNT] [-f FIRST] [-r RATE] [-l LENGTH] "
                  "[-t TIMES] [-k] PACK HOST PORT");
    }
    bench_pack_open(&ocsp.pack, argv[optind]);
    load.host = argv[optind + 1];
    load.port = argv[optind + 2];
    ocsp.sample = times ? 1 : SAMPLE;
    ocsp.answers = calloc(load.count, sizeof(*ocsp.answers));
    bench_need(ocsp.answers != NULL, "getting memory");
    clock_gettime(CLOCK_REALTIME, &wall);
    offset = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9 - bench_now();

    bench_load_run(&load);
    wrong = look(load.count);
    if (times) {
        write_times(&load, times, offset);
    }
    qsort(ocsp.answers, load.count, sizeof(*ocsp.answers), by_time);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"wrong\": %zu, \"reconnects\": %zu, "
           "\"p50_us\": %.0f, \"p99_us\": %.0f, \"max_us\": %.0f}\n", load.count, load.seconds,
           wrong, load.reconnects, microseconds(&load, 500), microseconds(&load, 990),
           microseconds(&load, 1000));
    return wrong && !ocsp.tolerant ? 1 : 0;
}
