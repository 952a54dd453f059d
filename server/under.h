/* SPDX-License-Identifier: Apache-2.0 */
/*
 * under.h - may a table lie on the devices that it names?
 *
 * A rule may say which devices a table may lie on. It is asked twice: of the lines before they
 * are loaded, because a load opens devices and may write to them; and of the devices that the
 * kernel says the loaded table has, because a path may have come to lead elsewhere in between.
 *
 * Whoever is restricted in what tables lie on may load no line that named.h does not understand.
 *
 * For any thread that may block: a path may lie on a device that is suspended. Reasons name
 * nothing of the lines but a known type and the numbers of devices.
 */
#ifndef DMRPC_UNDER_H
#define DMRPC_UNDER_H

#include <stdbool.h>
#include <stddef.h>

#include "block.h"
#include "dmioctl.h"
#include "rules.h"

/* All that globs may match of one device. It points into itself: it is not copied. */
struct under_names {
    const char *names[4];
    size_t count;
    char number[24];
    struct block_paths paths;
};

/*
 * major:minor, the kernel's names, and `word` (NULL: none) where it is a path that leads to just
 * this device now; it is borrowed.
 */
void under_names(const struct block_host *host, const char *word, struct dmi_device device,
                 struct under_names *ret_names);

/* --- the check --- */

/* Who wants to do what. All is borrowed. */
struct under_ask {
    const struct block_host *host;
    const struct rules *rules;
    const struct rules_who *who;
    const struct method *method;
    struct rules_device device; /* that gets the table */
};

/* What the lines were allowed to lie on, for under_allowed_deps. */
struct under_allowed {
    struct dmi_device *devices;
    size_t count;
};

void under_allowed_done(struct under_allowed *allowed);

enum { UNDER_REASON_BYTES = 256 };

struct under_refusal {
    bool has_line;                   /* it is about one line: */
    size_t line;                     /* from 0 */
    char reason[UNDER_REASON_BYTES]; /* part of a sentence: "no rule allows it to lie on 8:0" */
};

/*
 * Before the load. 0: allowed, and nothing was looked at where no rule restricts it; -EACCES with
 * *ret_refusal; -ENOMEM. A path at which there is no block device is -EACCES too. *ret_allowed is
 * zeroed before anything else: under_allowed_done in any case.
 */
int under_allowed_lines(const struct under_ask *ask, const struct dmi_target *targets, size_t count,
                        struct under_allowed *ret_allowed, struct under_refusal *ret_refusal);

/* Is there nothing to check: may it lie on anything? */
bool under_anything(const struct under_ask *ask);

/* After it: of the inactive table's dependencies. 0 or -EACCES with *ret_refusal. */
int under_allowed_deps(const struct under_ask *ask, const struct under_allowed *allowed,
                       const struct dmi_device *devices, size_t count,
                       struct under_refusal *ret_refusal);

#endif
