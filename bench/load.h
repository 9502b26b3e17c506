/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef bench_load_h
#define bench_load_h

#include <stddef.h>
#include <sys/uio.h>

/*
 * HTTP/1.1 load over a fixed number of kept connections, one request at a time on each: as fast as
 * the connections allow, or at a fixed rate. With a rate the time of an answer counts from when its
 * request was due, so that a server that stalls cannot slow down the clock that it is measured by.
 */

#define LOAD_PARTS 2

typedef struct bench_load bench_load_t;

struct bench_load {
    const char *host;               /* IPv4 address */
    const char *port;
    size_t connections;
    size_t count;                   /* how many requests */
    double rate;                    /* requests per second; 0: no pause */

    /** NULL, or when request n is due, on the clock of bench_now(); later ones are not due earlier.
     *  answer() and other() may then raise count: an answer can lead to another request. */
    double (*due)(const bench_load_t *load, size_t n);

    /** Bytes of request n, header and body, in parts that live until it is answered.
     *  @return how many parts, at most LOAD_PARTS */
    int (*request)(const bench_load_t *load, size_t n, struct iovec parts[LOAD_PARTS]);

    /** The answer 200 to request n. @param due, done on the clock of bench_now() */
    void (*answer)(bench_load_t *load, size_t n, const unsigned char *body, size_t length,
                   double due, double done);

    /** Looks at any other answer, which else ends the program. NULL, or @return 1 to go on */
    int (*other)(bench_load_t *load, size_t n, int status, double due, double done);

    void *baton;

    /* results */
    size_t reconnects;
    double started;
    double seconds;
};

/** Ends the program with a message if a server does not answer, or not properly. */
void bench_load_run(bench_load_t *load);

#endif /* bench_load_h */
