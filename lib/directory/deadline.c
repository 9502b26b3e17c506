/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "directory/deadline.h"

#include <errno.h>
#include <poll.h>

static int layer_setup(Sockbuf_IO_Desc *layer, void *deadline)
{
    layer->sbiod_pvt = deadline;
    return 0;
}

static int layer_remove(Sockbuf_IO_Desc *layer)
{
    layer->sbiod_pvt = NULL;
    return 0;
}

static int layer_ctrl(Sockbuf_IO_Desc *layer, int option, void *value)
{
    return LBER_SBIOD_CTRL_NEXT(layer, option, value);
}

/** @return 0, or -1 with errno */
static int wait_for(Sockbuf_IO_Desc *layer, short events)
{
    const gh_ldap_deadline_t *deadline = layer->sbiod_pvt;
    struct pollfd socket = { .events = events };
    apr_interval_time_t left;
    int ready = 0;

    if (ber_sockbuf_ctrl(layer->sbiod_sb, LBER_SB_OPT_GET_FD, &socket.fd) == 1) {
        do {
            left = deadline->end - apr_time_now();
            ready = left > 0 ? poll(&socket, 1, (int)((left + 999) / 1000)) : 0;
        } while (ready < 0 && errno == EINTR);
    }
    if (ready == 0) {
        errno = ETIMEDOUT;
    }
    return ready > 0 ? 0 : -1;
}

static ber_slen_t layer_read(Sockbuf_IO_Desc *layer, void *data, ber_len_t length)
{
    return wait_for(layer, POLLIN) ? -1 : LBER_SBIOD_READ_NEXT(layer, data, length);
}

static ber_slen_t layer_write(Sockbuf_IO_Desc *layer, void *data, ber_len_t length)
{
    return wait_for(layer, POLLOUT) ? -1 : LBER_SBIOD_WRITE_NEXT(layer, data, length);
}

static int layer_close(Sockbuf_IO_Desc *layer)
{
    return 0;
}

/** Called by libldap when TCP is there, before TLS begins. */
static int connected(LDAP *ldap, Sockbuf *socket, LDAPURLDesc *server, struct sockaddr *address,
                     struct ldap_conncb *callbacks)
{
    /* libldap does not change it, and has no const */
    static const Sockbuf_IO layer = {
        layer_setup, layer_remove, layer_ctrl, layer_read, layer_write, layer_close
    };

    return ber_sockbuf_add_io(socket, (Sockbuf_IO *)&layer,
                              (LBER_SBIOD_LEVEL_PROVIDER + LBER_SBIOD_LEVEL_TRANSPORT) / 2,
                              callbacks->lc_arg);
}

static void disconnected(LDAP *ldap, Sockbuf *socket, struct ldap_conncb *callbacks)
{
}

int gh_ldap_deadline_set(LDAP *ldap, gh_ldap_deadline_t *deadline)
{
    deadline->callbacks.lc_add = connected;
    deadline->callbacks.lc_del = disconnected;
    deadline->callbacks.lc_arg = deadline;
    return ldap_set_option(ldap, LDAP_OPT_CONNECT_CB, &deadline->callbacks);
}
