/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.h - why a request or a call did not do what it was asked.
 *
 * One struct holds all that an error reply can say. It is filled where the cause
 * is known: by the envelope, the decoder, a handler, or here, from the kernel's
 * errno and the ioctl it came from (the one place that maps those to errors).
 */
#ifndef DMRPC_FAILURE_H
#define DMRPC_FAILURE_H

#include "out.h"
#include "schema.h"

struct failure {
    enum error_id id;
    char message[1024];     /* a sentence for people */
    struct error_data data; /* the schema's ErrorData; strings borrowed from below or static, lists
                               from the call's arena */
    char path[512], reason[768], method[128], name[160], state[256], hint[512];
};

/* Starts a failure; `format` makes its message. What else is known is set afterwards. */
__attribute__((format(printf, 3, 4))) void failure_set(struct failure *failure, enum error_id id,
                                                       const char *format, ...);

/*
 * Fills a failure from the negative errno `rc` of a library call. `dm` tells which
 * ioctl that was; `what` names the device for people ("device 'x'"), or is NULL.
 * `exists`: the device is known to be there, so that ENXIO may mean something else.
 */
void failure_set_kernel(struct failure *failure, int rc, const struct dmi *dm, const char *what,
                        bool exists);

/* Copies a string of the failure's own, cut to fit. */
void failure_copy(char *to, size_t size, const char *from);

/* Prints the error object of JSON-RPC 2.0, section 5.1. */
void failure_put(const struct failure *failure, struct out *out);

#endif
