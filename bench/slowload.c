/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Devices that enrol where the CA is slow: each sends its request at its time, and, as long as it
 * is told to wait, polls (CertPoll) an interval after the last answer. Messages are those of
 * "scepmake -P": a request and a poll for each device. -u: they send their requests and do not
 * poll; -p: they poll once, and no more.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/support.h"

#define HEADER_MAX 1024

/** A device that has asked so often ends the run. */
#define AGAIN_MAX 200

/* values of pkiStatus (RFC 8894 3.2.1.3) */
#define SCEP_SUCCESS "0"
#define SCEP_PENDING "3"

typedef struct {
    char headers[2][HEADER_MAX];    /* of its request and its poll */
    size_t again;                   /* how often it had to ask again */
    int served;
} device_t;

/** One message. */
typedef struct {
    size_t device;
    double due;
    float seconds;                  /* until it was answered */
    int polls;
} event_t;

static struct {
    const char *path;
    bench_pack_t pack;
    size_t first;
    size_t devices;
    double interval;
    double started;
    int only_requests;
    int only_polls;
    device_t *states;
    event_t *events;                /* in the order in which they are due */
    size_t allocated;
    size_t served, refused, busy;
    size_t pending_polls, final_polls;
} slow;

static const bench_message_t *message_of(size_t device, int polls)
{
    return &slow.pack.messages[2 * (slow.first + device) + (polls ? 1 : 0)];
}

static void add_event(bench_load_t *load, size_t device, int polls, double due)
{
    if (load->count == slow.allocated) {
        slow.allocated = slow.allocated ? 2 * slow.allocated : 4096;
        slow.events = realloc(slow.events, slow.allocated * sizeof(*slow.events));
        bench_need(slow.events != NULL, "getting memory");
    }
    slow.events[load->count].device = device;
    slow.events[load->count].polls = polls;
    slow.events[load->count].due = due;
    slow.events[load->count++].seconds = 0;
}

static double due(const bench_load_t *load, size_t n)
{
    return slow.events[n].due;
}

static int request(const bench_load_t *load, size_t n, struct iovec parts[LOAD_PARTS])
{
    const event_t *event = &slow.events[n];
    const bench_message_t *message = message_of(event->device, event->polls);

    parts[0].iov_base = slow.states[event->device].headers[event->polls];
    parts[0].iov_len = strlen(parts[0].iov_base);
    parts[1].iov_base = (void *)message->data;
    parts[1].iov_len = message->length;
    return 2;
}

static int is_text(const ASN1_STRING *string, const char *text)
{
    return string && (size_t)ASN1_STRING_length(string) == strlen(text)
           && memcmp(ASN1_STRING_get0_data(string), text, strlen(text)) == 0;
}

static ASN1_STRING *status_of(CMS_ContentInfo *cms)
{
    return bench_attribute(bench_signer(cms), SCEP_OID_PKI_STATUS, V_ASN1_PRINTABLESTRING);
}

/** Whether an answer has the transaction of its message. */
static int is_ours(CMS_ContentInfo *reply, const event_t *event)
{
    const bench_message_t *message = message_of(event->device, event->polls);
    const unsigned char *data = message->data;
    CMS_ContentInfo *sent = d2i_CMS_ContentInfo(NULL, &data, (long)message->length);
    ASN1_STRING *one, *other;
    int same;

    bench_need(sent != NULL, "reading a message");
    one = bench_attribute(bench_signer(sent), SCEP_OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING);
    other = bench_attribute(bench_signer(reply), SCEP_OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING);
    same = one && other && ASN1_STRING_cmp(one, other) == 0;
    CMS_ContentInfo_free(sent);
    return same;
}

static void ask_again(bench_load_t *load, size_t device, int polls, double done)
{
    if (++slow.states[device].again > AGAIN_MAX) {
        bench_die("a device has asked %d times and still has no answer", AGAIN_MAX);
    }
    add_event(load, device, polls, done + slow.interval);
}

static void look(bench_load_t *load, size_t n, const unsigned char *body, size_t length,
                 double when, double done)
{
    event_t event = slow.events[n];
    device_t *state = &slow.states[event.device];
    CMS_ContentInfo *reply = d2i_CMS_ContentInfo(NULL, &body, (long)length);
    ASN1_STRING *status;

    slow.events[n].seconds = (float)(done - when);
    bench_need(reply != NULL, "reading an answer");
    if (!is_ours(reply, &event)) {
        bench_die("an answer is of another transaction");
    }
    status = status_of(reply);
    if (is_text(status, SCEP_PENDING)) {
        slow.pending_polls += event.polls ? 1 : 0;
        if (!slow.only_requests && !slow.only_polls) {
            ask_again(load, event.device, 1, done);
        }
    }
    else if (is_text(status, SCEP_SUCCESS)) {
        slow.final_polls += event.polls ? 1 : 0;
        slow.served += state->served ? 0 : 1;
        state->served = 1;
    }
    else {
        ++slow.refused;
    }
    CMS_ContentInfo_free(reply);
}

/** A server that has enough to do says so with 503; the message is sent again. */
static int look_at_error(bench_load_t *load, size_t n, int status, double when, double done)
{
    event_t event = slow.events[n];

    if (status != 503) {
        return 0;
    }
    slow.events[n].seconds = (float)(done - when);
    ++slow.busy;
    ask_again(load, event.device, event.polls, done);
    return 1;
}

static void make_device(const bench_load_t *load, size_t device)
{
    int polls;

    for (polls = 0; polls < 2; ++polls) {
        snprintf(slow.states[device].headers[polls], HEADER_MAX,
                 "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/x-pki-message\r\n"
                 "Content-Length: %zu\r\n\r\n", slow.path, load->host, load->port,
                 message_of(device, polls)->length);
    }
}

static int by_time(const void *one, const void *other)
{
    float a = ((const event_t *)one)->seconds, b = ((const event_t *)other)->seconds;

    return (a > b) - (a < b);
}

/** "requests" are devices: what is told per request is per device. */
static void report(const bench_load_t *load)
{
    size_t i, polls = 0;
    double longest;

    for (i = 0; i < load->count; ++i) {
        polls += slow.events[i].polls ? 1 : 0;
    }
    qsort(slow.events, load->count, sizeof(*slow.events), by_time);
    longest = load->count ? (double)slow.events[load->count - 1].seconds : 0;
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"served\": %zu, \"refused\": %zu, "
           "\"busy\": %zu, \"messages\": %zu, \"polls\": %zu, \"pending_polls\": %zu, "
           "\"final_polls\": %zu, \"reconnects\": %zu, \"p50_us\": %.0f, \"p99_us\": %.0f, "
           "\"max_us\": %.0f}\n", slow.devices, load->seconds, slow.served, slow.refused,
           slow.busy, load->count, polls, slow.pending_polls, slow.final_polls, load->reconnects,
           (double)slow.events[load->count / 2].seconds * 1e6,
           (double)slow.events[load->count * 99 / 100].seconds * 1e6, longest * 1e6);
}

static void read_options(bench_load_t *load, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:f:n:i:m:up")) != -1) {
        switch (option) {
        case 'c':
            load->connections = bench_number(optarg, "-c");
            break;
        case 'f':
            slow.first = bench_number(optarg, "-f");
            break;
        case 'n':
            slow.devices = bench_number(optarg, "-n");
            break;
        case 'i':
            slow.interval = (double)bench_number(optarg, "-i") / 1000;
            break;
        case 'm':
            bench_pack_open(&slow.pack, optarg);
            break;
        case 'u':
            slow.only_requests = 1;
            break;
        case 'p':
            slow.only_polls = 1;
            break;
        default:
            exit(2);
        }
    }
    if (argc - optind != 3 || !slow.devices || !slow.pack.count) {
        bench_die("usage: slowload -m MESSAGES [-c CONNECTIONS] [-f FIRST] [-n DEVICES] "
                  "[-i MILLISECONDS] [-u|-p] HOST PORT PATH");
    }
    if (2 * (slow.first + slow.devices) > slow.pack.count) {
        bench_die("there are messages of %zu devices only", slow.pack.count / 2);
    }
    load->host = argv[optind];
    load->port = argv[optind + 1];
    slow.path = argv[optind + 2];
}

int main(int argc, char **argv)
{
    bench_load_t load = { .connections = 64, .request = request, .answer = look,
                          .other = look_at_error, .due = due };
    size_t i;

    slow.devices = 1000;
    slow.interval = 5;
    read_options(&load, argc, argv);
    slow.states = calloc(slow.devices, sizeof(*slow.states));
    bench_need(slow.states != NULL, "getting memory");
    slow.started = bench_now();
    for (i = 0; i < slow.devices; ++i) {
        make_device(&load, i);
        add_event(&load, i, slow.only_polls,
                  slow.started + slow.interval * (double)i / (double)slow.devices);
    }
    bench_load_run(&load);
    report(&load);
    return slow.refused ? 1 : 0;
}
