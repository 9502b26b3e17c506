/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The <Location> sections of a server, and whether it is plain which of them decides. httpd applies
 * them as they stand, the main server's first; readers expect the narrower one to hold. Only where
 * both agree is a configuration accepted. */

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "mod_scep/scep_url.h"

int scep_location_covers(const char *location, const char *path)
{
    apr_size_t length = strlen(location);

    return strncmp(location, path, length) == 0
           && (length == 0 || location[length - 1] == '/' || path[length] == '/'
               || path[length] == '\0');
}

int scep_location_serves(const char *location)
{
    return scep_location_covers(location, SCEP_URL_ROOT)
           || scep_location_covers(SCEP_URL_ROOT, location);
}

static int count_sections(const server_rec *s)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);

    return core->sec_url->nelts;
}

apr_array_header_t *scep_locations(server_rec *main_server, server_rec *s, apr_hash_t *handlers,
                                   apr_pool_t *p)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);
    apr_array_header_t *locations = apr_array_make(p, core->sec_url->nelts,
                                                   sizeof(scep_location_t));
    int inherited = s == main_server ? 0 : count_sections(main_server);
    int i;

    for (i = 0; i < core->sec_url->nelts; ++i) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);
        const core_dir_config *dir = ap_get_core_module_config(section);
        scep_location_t location;

        /* patterns have no SCEP directives; what else they say never reaches the table */
        if (dir->r || dir->d_is_fnmatch) {
            continue;
        }
        location.path = dir->d;
        location.own = i >= inherited;
        location.handler = scep_handler_of(handlers, dir, &location.handler_place, p);
        location.scep = ap_get_module_config(section, &scep_module);
        location.web = location.scep ? location.scep->web : NULL;
        if (location.scep && !location.scep->server) {
            location.scep = NULL;
        }
        APR_ARRAY_PUSH(locations, scep_location_t) = location;
    }
    return locations;
}

/** Two sections of one path in one server: nobody can tell which was meant. */
static int check_twins(server_rec *s, const scep_location_t *one, const scep_location_t *other,
                       apr_pool_t *ptemp)
{
    if (!one->own || !one->scep || !other->scep || strcmp(one->path, other->path) != 0) {
        return 0;
    }
    scep_log_problem(s, APLOG_ERR, other->scep->place,
                     apr_psprintf(ptemp, GHNO(0245) "<Location \"%s\"> has SCEP directives "
                                  "already, in line %d of %s; put them together", one->path,
                                  one->scep->place.line, one->scep->place.file), ptemp);
    return 1;
}

static const scep_said_t *find_said(const scep_section_t *section, const char *directive)
{
    int i;

    for (i = 0; section && i < section->said->nelts; ++i) {
        const scep_said_t *said = &APR_ARRAY_IDX(section->said, i, scep_said_t);
        if (!strcmp(said->directive, directive)) {
            return said;
        }
    }
    return NULL;
}

/** Directives of a wide location that would replace those of a narrow one before it. */
static int check_directives(server_rec *s, const scep_location_t *narrow,
                            const scep_location_t *wide, apr_pool_t *ptemp)
{
    int i, problems = 0;

    for (i = 0; wide->scep && i < wide->scep->said->nelts; ++i) {
        const scep_said_t *said = &APR_ARRAY_IDX(wide->scep->said, i, scep_said_t);
        const scep_said_t *before = find_said(narrow->scep, said->directive);

        if (before && !said->adds) {
            scep_log_problem(s, APLOG_ERR, said->place,
                             apr_psprintf(ptemp,
                                          GHNO(0443) "%s in <Location \"%s\"> stands behind that "
                                          "of the narrower <Location \"%s\">, in line %d of %s: "
                                          "put wide locations before narrow ones%s",
                                          said->directive, wide->path, narrow->path,
                                          before->place.line, before->place.file,
                                          narrow->own ? "" : "; a virtual host stands behind the "
                                                             "main server"), ptemp);
            ++problems;
        }
    }
    return problems;
}

/** A handler of a wide location takes endpoints away from a narrow one before it, or gives it some
 *  that it had given away. */
static int check_handlers(server_rec *s, const scep_location_t *narrow,
                          const scep_location_t *wide, apr_pool_t *ptemp)
{
    if (!narrow->handler || !wide->handler || !strcmp(narrow->handler, wide->handler)
        || !scep_location_covers(SCEP_URL_ROOT, narrow->path)) {
        return 0;
    }
    scep_log_problem(s, APLOG_ERR, wide->handler_place,
                     apr_psprintf(ptemp, GHNO(0444) "SetHandler in <Location \"%s\"> stands behind "
                                  "that of the narrower <Location \"%s\">, in line %d of %s, which "
                                  "httpd would not apply: put wide locations before narrow ones%s",
                                  wide->path, narrow->path, narrow->handler_place.line,
                                  narrow->handler_place.file,
                                  narrow->own ? "" : "; a virtual host stands behind the main "
                                                     "server"), ptemp);
    return 1;
}

int scep_check_locations(server_rec *s, const apr_array_header_t *locations, apr_pool_t *ptemp)
{
    int i, j, problems = 0;

    for (i = 0; i < locations->nelts; ++i) {
        const scep_location_t *later = &APR_ARRAY_IDX(locations, i, scep_location_t);

        /* what the main server has was checked there */
        for (j = 0; later->own && j < i; ++j) {
            const scep_location_t *earlier = &APR_ARRAY_IDX(locations, j, scep_location_t);

            problems += check_twins(s, earlier, later, ptemp);
            if (strlen(earlier->path) > strlen(later->path)
                && scep_location_covers(later->path, earlier->path)) {
                problems += check_directives(s, earlier, later, ptemp);
                problems += check_handlers(s, earlier, later, ptemp);
            }
        }
    }
    return problems;
}
