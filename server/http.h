/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - JSON-RPC over HTTP/1.1, for curl and for HTTP libraries.
 *
 * On the same socket as the raw protocol: conn.c hands over each client whose
 * first byte begins a request of HTTP. libmicrohttpd reads and writes, driven by
 * our loop; what is asked goes the way of all calls (rpc.h). Loop thread only.
 */
#ifndef DMRPC_HTTP_H
#define DMRPC_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "dispatch.h"
#include "peer.h"

struct http;

/*
 * `empty` is called when the last client has gone, after http_close. 0 or -errno.
 * Built without HTTP: 0, and *ret_http is NULL, which all of the others take.
 */
int http_new(struct dispatcher *dispatcher, void (*empty)(void *data), void *data,
             struct http **ret_http);

/* Closes all at once. Returns NULL. */
struct http *http_free(struct http *http);

/* Whether a client that begins with this byte speaks HTTP: JSON texts begin otherwise. */
bool http_wants(const struct http *http, char first);

/* Takes over a connected, non-blocking socket of which nothing has been read; closes it at any
 * failure. */
void http_take(struct http *http, int fd, const struct peer *peer);

/* Serves no new requests any more: what has come is answered, then each client is closed. */
void http_close(struct http *http);

size_t http_count(const struct http *http);
size_t http_count_user(const struct http *http, uid_t uid);

#endif
