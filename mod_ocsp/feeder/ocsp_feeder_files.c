/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Authorities whose status is fetched. For each, one job at a time: a document is read, or an index
 * is made of those that were read. */

#include "config.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "status.h"

/** A CRL that comes to its end is spoken of so often. */
#define WARN_EVERY apr_time_from_sec(3600)

/** After an index could not be made; until then its documents may have changed. */
#define BUILD_RETRY apr_time_from_sec(5)

/** What cannot be made then. */
#define INDEX "its index"

/* Between three and five quarters, so that many nodes do not come all at once. */
static apr_interval_time_t jitter(apr_interval_time_t time)
{
    apr_uint32_t random = 0;

    if (RAND_bytes((unsigned char *)&random, sizeof(random)) != 1) {
        random = (apr_uint32_t)apr_time_usec(apr_time_now());
    }
    return time * 3 / 4 + time / 2 * (apr_interval_time_t)(random % 1024) / 1024;
}

/* @param doubled how often: a server that is up and has nothing good is not asked for it again and
 *  again */
static void source_failed(feeder_source_t *source, const gh_result_t *result, int doubled)
{
    const ocsp_source_config_t *config = source->config;
    apr_interval_time_t retry = config->retry << (doubled < 8 ? doubled : 8);

    source->due = apr_time_now() + jitter(retry < config->interval ? retry : config->interval);
    feeder_fail(source->authority, &source->failure, source->url, result);
}

/* Indexes say when the source was known to say this: of all sources the one seen longest ago. */
static apr_time_t synced(const feeder_authority_t *authority)
{
    apr_time_t oldest = apr_time_now();
    int i;

    for (i = 0; i < authority->source_count; ++i) {
        apr_time_t success = authority->sources[i].last_success;

        oldest = success < oldest ? success : oldest;
    }
    return oldest;
}

int feeder_hash_documents(const feeder_authority_t *authority, unsigned char sha256[32])
{
    static const char version[] = PACKAGE_VERSION;     /* another one may read them otherwise */
    apr_int64_t rules[] = { authority->reader.retention, authority->reader.serve_endless };
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL)
               && EVP_DigestUpdate(context, version, sizeof(version))
               && EVP_DigestUpdate(context, rules, sizeof(rules));
    int i;

    for (i = 0; done && i < authority->source_count; ++i) {
        const feeder_source_t *source = &authority->sources[i];
        apr_int64_t parts[] = {
            (apr_int64_t)source->kind, source->number, source->config->serve_expired,
            source->config->whole
        };

        done = source->has_info && EVP_DigestUpdate(context, parts, sizeof(parts))
               && EVP_DigestUpdate(context, source->url, strlen(source->url) + 1)
               && EVP_DigestUpdate(context, source->info.sha256, sizeof(source->info.sha256));
    }
    done = done && EVP_DigestFinal_ex(context, sha256, NULL);
    EVP_MD_CTX_free(context);
    return done;
}

/* Of a document that was taken up the index has all. */
static int all_read(const feeder_authority_t *authority)
{
    int i;

    for (i = 0; i < authority->source_count; ++i) {
        if (!authority->sources[i].document && !authority->sources[i].taken_up) {
            return 0;
        }
    }
    return 1;
}

/* Tells the children that what they have is still right. Only if the index has all that was read:
 * otherwise it is older than the sources. */
static void advance(feeder_authority_t *authority)
{
    gh_overlay_progress_t progress = { .change = 0 };

    if (authority->overlay && !authority->changed && all_read(authority)) {
        progress.synced_at = synced(authority);
        gh_overlay_advance(authority->overlay, &progress);
    }
}

static void source_succeeded(feeder_source_t *source)
{
    source->last_success = source->began;
    source->due = apr_time_now() + source->config->interval;
    source->authority->state_changed = 1;
    feeder_recover(source->authority, &source->failure, source->url);
    advance(source->authority);
}

/* Fetching */

static void fetched(void *baton)
{
    feeder_source_t *source = baton;
    ocsp_fetch_t *fetch = &source->fetch;
    unsigned char sha256[32];
    gh_bytes_t bytes = ocsp_buffer_bytes(&fetch->bytes);

    source->fetching = 0;
    source->authority->state_changed = 1;
    if (fetch->status != APR_SUCCESS) {
        if (!*fetch->result.number) {
            feeder_no_thread(fetch->status, &fetch->result);
        }
        ocsp_buffer_free(&fetch->bytes);
        source_failed(source, &fetch->result, 0);
        return;
    }
    if (!fetch->unchanged) {
        source->size = bytes.length;
        if ((source->document || source->taken_up)
            && EVP_Digest(bytes.data, bytes.length, sha256, NULL, EVP_sha256(), NULL)
            && !memcmp(sha256, source->info.sha256, sizeof(sha256))) {
            fetch->unchanged = 1;
        }
    }
    if (fetch->unchanged) {
        ocsp_buffer_free(&fetch->bytes);
        source_succeeded(source);
        return;
    }
    source->fetched = 1;
}

static void fetch_due(feeder_source_t *source, apr_time_t now)
{
    ocsp_feeder_t *feeder = source->authority->feeder;

    if (source->fetching || source->fetched || source->due > now) {
        return;
    }
    if (!source->document && !source->taken_up) {
        ocsp_fetch_forget(&source->fetch);
    }
    source->fetching = 1;
    source->began = now;
    source->last_attempt = now;
    source->fetch.done = fetched;
    source->fetch.baton = source;
    ocsp_fetch_begin(&source->fetch, feeder->multi, feeder->fetching);
}

/* Reading */

static void read_document(void *baton)
{
    feeder_authority_t *authority = baton;
    feeder_source_t *source = authority->reading;
    ocsp_fetched_t what = {
        .kind = source->kind, .source = source->number, .url = source->url,
        .bytes = ocsp_buffer_bytes(&source->fetch.bytes), .shrink = source->config->shrink,
        .serve_expired = source->config->serve_expired, .whole = source->config->whole,
        .former = source->has_info ? &source->info : NULL
    };

    gh_result_clear(&authority->result);
    apr_pool_create_unmanaged_ex(&source->next_pool, NULL, NULL);
    authority->status = ocsp_document_read(&source->next, &what, &authority->reader,
                                           apr_time_now(), source->next_pool,
                                           &authority->result);
}

/* Of what is left out of an index and never answered as good. */
static void log_strange(const feeder_source_t *source)
{
    if (source->info.strange) {
        gh_log(source->authority->feeder->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0769) "authority "
               "%s, %s: %" APR_UINT64_T_FMT " revoked certificates have serial numbers that are "
               "negative or longer than 20 bytes; nobody is told that these are revoked, nor that "
               "they are good. Replace such certificates", source->authority->name, source->url,
               source->info.strange);
    }
}

static int is_other_edition(const ocsp_document_info_t *one, const ocsp_document_info_t *other)
{
    return strcmp(one->number, other->number) || one->this_update != other->this_update;
}

static void document_read(void *baton)
{
    feeder_authority_t *authority = baton;
    feeder_source_t *source = authority->reading;

    authority->busy = 0;
    source->fetched = 0;
    ocsp_buffer_free(&source->fetch.bytes);
    if (authority->status != APR_SUCCESS) {
        apr_pool_destroy(source->next_pool);
        ocsp_fetch_forget(&source->fetch);
        source_failed(source, &authority->result, source->failure.count);
        return;
    }
    if (source->document_pool) {
        apr_pool_destroy(source->document_pool);
    }
    source->document = source->next;
    source->document_pool = source->next_pool;
    authority->state_unsafe |= is_other_edition(&source->info,
                                                ocsp_document_info(source->document));
    source->info = *ocsp_document_info(source->document);
    source->has_info = 1;
    log_strange(source);
    source->taken_up = 0;
    source->warned = 0;
    authority->changed = 1;
    authority->due = 0;
    source_succeeded(source);
}

/* Building */

static void build(void *baton)
{
    feeder_authority_t *authority = baton;
    ocsp_document_t **documents;
    apr_pool_t *ptemp;
    int i;

    gh_result_clear(&authority->result);
    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    documents = apr_palloc(ptemp, (apr_size_t)authority->source_count * sizeof(*documents));
    for (i = 0; i < authority->source_count; ++i) {
        documents[i] = authority->sources[i].document;
    }
    authority->status = ocsp_documents_build(documents, authority->source_count,
                                             &authority->reader, &authority->next,
                                             authority->index,
                                             gh_view_index_path(authority->feeder->folder,
                                                                authority->name, ptemp),
                                             apr_time_now(), ptemp, &authority->result);
    if (authority->status == APR_SUCCESS && authority->index) {
        gh_view_remove_overlays(authority->feeder->folder, authority->name,
                                gh_index_info(authority->index)->generation, ptemp);
    }
    apr_pool_destroy(ptemp);
}

static void built(void *baton)
{
    feeder_authority_t *authority = baton;

    if (feeder_take_index(authority, INDEX, BUILD_RETRY)) {
        authority->changed = 0;
        authority->has_made_from = authority->has_making_from;
        memcpy(authority->made_from, authority->making_from, sizeof(authority->made_from));
        advance(authority);
    }
}

static apr_int64_t next_generation(const feeder_authority_t *authority, apr_time_t now)
{
    apr_int64_t former = authority->index ? gh_index_info(authority->index)->generation : 0;

    /* also higher than that of an index that could not be read any more */
    return former + 1 > apr_time_sec(now) ? former + 1 : apr_time_sec(now);
}

static void submit(feeder_authority_t *authority, void (*work)(void *), void (*done)(void *))
{
    feeder_submit(authority, authority->feeder->computing, work, done, INDEX, BUILD_RETRY);
}

/* How long the index has to be there before the next one: processes that wait for its instant do
 * not look for another one, and all of them have to see the same ones. */
static apr_interval_time_t to_wait(const feeder_authority_t *authority)
{
    return authority->index ? gh_index_wait(authority->index) : 0;
}

/* One job, if there is something to do: documents first, so that an index has all that is there. */
static void compute(feeder_authority_t *authority, apr_time_t now)
{
    int i;

    if (authority->busy || authority->due > now) {
        return;
    }
    for (i = 0; i < authority->source_count; ++i) {
        if (authority->sources[i].fetched) {
            authority->reading = &authority->sources[i];
            submit(authority, read_document, document_read);
            return;
        }
    }
    if (!authority->changed || !all_read(authority) || to_wait(authority)) {
        return;
    }
    authority->has_making_from = feeder_hash_documents(authority, authority->making_from);
    if (authority->index && authority->has_made_from && authority->has_making_from
        && !memcmp(authority->made_from, authority->making_from, sizeof(authority->made_from))) {
        authority->changed = 0;
        advance(authority);
    }
    else {
        memset(&authority->next, 0, sizeof(authority->next));
        memcpy(authority->next.authority, authority->reader.digest,
               sizeof(authority->next.authority));
        authority->next.generation = next_generation(authority, now);
        authority->next.synced_at = synced(authority);
        /* nobody is answered from a CRL before it is known that older ones are refused */
        feeder_state_save(authority, now);
        submit(authority, build, built);
    }
}

static void warn(feeder_source_t *source, apr_time_t now)
{
    apr_time_t end = source->info.next_update;
    apr_pool_t *ptemp;

    if (!source->has_info || !end || end - now > source->config->warn
        || (source->warned && now - source->warned < WARN_EVERY)) {
        return;
    }
    source->warned = now;
    source->authority->state_changed = 1;
    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    gh_log(source->authority->feeder->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0677) "authority %s, "
           "%s: the CRL %s at %s, and there is no newer one; see why the CA does not publish",
           source->authority->name, source->url, end > now ? "ends" : "has ended",
           gh_time_text(ptemp, end));
    apr_pool_destroy(ptemp);
}

/* What an index of documents that are not here is made of is fetched again. */
static void make_again(feeder_authority_t *authority)
{
    int i;

    authority->has_made_from = 0;
    authority->changed = 1;
    for (i = 0; i < authority->source_count; ++i) {
        feeder_source_t *source = &authority->sources[i];

        if (source->taken_up) {
            source->taken_up = 0;
            source->due = 0;
        }
    }
}

apr_time_t feeder_files_step(feeder_authority_t *authority, apr_time_t now)
{
    apr_time_t next = now + apr_time_from_sec(1);
    int i;

    if (feeder_index_lost(authority, now)) {
        make_again(authority);
    }
    for (i = 0; i < authority->source_count; ++i) {
        feeder_source_t *source = &authority->sources[i];

        fetch_due(source, now);
        warn(source, now);
        if (!source->fetching && !source->fetched && source->due < next) {
            next = source->due;
        }
    }
    compute(authority, now);
    if (!authority->busy && authority->changed) {
        apr_time_t due = now + to_wait(authority);

        due = authority->due > due ? authority->due : due;
        next = due > now && due < next ? due : next;
    }
    return next;
}
