/* SPDX-License-Identifier: Apache-2.0 */
/*
 * named.h - the devices that a table's lines name.
 *
 * Lines are read as the kernel's constructors read them. Of a type that is not known here, or a
 * word that is neither an absolute path nor major:minor, nothing can be said: such a line is
 * "not understood".
 *
 * Lines hold keys: what is kept of them is wiped, and reasons name nothing of them but a known
 * type.
 */
#ifndef DMRPC_NAMED_H
#define DMRPC_NAMED_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "dmioctl.h"

/* A word of a line that is a device. */
struct named_device {
    size_t line; /* from 0 */
    const char *text;
    bool is_number; /* it is major:minor: */
    struct dmi_device device;
};

struct named {
    struct named_device *devices; /* in the order of the lines */
    size_t count;
    struct arena arena; /* holds all of it */
    /* Where a line is not understood: */
    size_t bad_line;
    char reason[128]; /* part of a sentence, such as "its type is not known" */
};

/*
 * 0; -EINVAL: a line is not understood, bad_line and reason tell, and the devices are those
 * before that; -ENOMEM. named_done in any case.
 */
int named_read(const struct dmi_target *targets, size_t count, struct named *ret_named);

void named_done(struct named *named);

#endif
