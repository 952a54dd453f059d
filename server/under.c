/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds what the devices that a table's lines name are called, and asks the rules. It knows
 * neither calls nor what a rule is for.
 */
#include "under.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "named.h"

/* --- names --- */

void under_names(const struct block_host *host, const char *word, struct dmi_device device,
                 struct under_names *ret_names)
{
    struct dmi_device found;

    ret_names->count = 0;
    (void)snprintf(ret_names->number, sizeof(ret_names->number), "%u:%u", device.major,
                   device.minor);
    ret_names->names[ret_names->count++] = ret_names->number;
    host->paths(host, device, &ret_names->paths);
    if (ret_names->paths.node[0]) {
        ret_names->names[ret_names->count++] = ret_names->paths.node;
    }
    if (ret_names->paths.mapped[0]) {
        ret_names->names[ret_names->count++] = ret_names->paths.mapped;
    }
    if (word && block_is_path(word) && block_find(host, word, &found) == 0 &&
        dmi_device_equal(found, device)) {
        ret_names->names[ret_names->count++] = word;
    }
}

/* --- the check --- */

void under_allowed_done(struct under_allowed *allowed)
{
    free(allowed->devices);
    *allowed = (struct under_allowed){0};
}

static bool is_allowed_already(const struct under_allowed *allowed, struct dmi_device device)
{
    bool found = false;

    for (size_t i = 0; !found && i < allowed->count; i++) {
        found = dmi_device_equal(allowed->devices[i], device);
    }
    return found;
}

bool under_anything(const struct under_ask *ask)
{
    return rules_under(ask->rules, ask->who, ask->method, ask->device, NULL, 0);
}

/* -EACCES where no rule allows the device by any of its names. */
static int check_device(const struct under_ask *ask, const char *word, struct dmi_device device,
                        struct under_refusal *ret_refusal)
{
    struct under_names names;

    under_names(ask->host, word, device, &names);
    if (rules_under(ask->rules, ask->who, ask->method, ask->device, names.names, names.count)) {
        return 0;
    }
    const char *called = names.paths.mapped[0] ? names.paths.mapped : names.paths.node;
    (void)snprintf(ret_refusal->reason, sizeof(ret_refusal->reason),
                   called[0] ? "no rule allows it to lie on %s (%.200s)"
                             : "no rule allows it to lie on %s%s",
                   names.number, called);
    return -EACCES;
}

static int find_device(const struct under_ask *ask, const struct named_device *named,
                       struct dmi_device *ret_device, struct under_refusal *ret_refusal)
{
    if (named->is_number) {
        *ret_device = named->device;
        return 0;
    }
    if (block_find(ask->host, named->text, ret_device) == 0) {
        return 0;
    }
    (void)snprintf(ret_refusal->reason, sizeof(ret_refusal->reason),
                   "at a path in it there is no block device that the rules could be asked for");
    return -EACCES;
}

static int check_named(const struct under_ask *ask, const struct named *named,
                       struct under_allowed *allowed, struct under_refusal *ret_refusal)
{
    allowed->devices = calloc(named->count + 1, sizeof(*allowed->devices));
    int rc = allowed->devices ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < named->count; i++) {
        const struct named_device *each = &named->devices[i];
        struct dmi_device device = {0};
        ret_refusal->line = each->line;
        rc = find_device(ask, each, &device, ret_refusal);
        if (rc < 0 || is_allowed_already(allowed, device)) {
            continue;
        }
        rc = check_device(ask, each->text, device, ret_refusal);
        if (rc == 0) {
            allowed->devices[allowed->count++] = device;
        }
    }
    ret_refusal->has_line = rc == -EACCES;
    return rc;
}

int under_allowed_lines(const struct under_ask *ask, const struct dmi_target *targets, size_t count,
                        struct under_allowed *ret_allowed, struct under_refusal *ret_refusal)
{
    struct named named;

    *ret_allowed = (struct under_allowed){0};
    *ret_refusal = (struct under_refusal){0};
    if (under_anything(ask)) {
        return 0;
    }
    int rc = named_read(targets, count, &named);
    if (rc == 0) {
        rc = check_named(ask, &named, ret_allowed, ret_refusal);
    } else if (rc == -EINVAL) {
        ret_refusal->has_line = true;
        ret_refusal->line = named.bad_line;
        (void)snprintf(ret_refusal->reason, sizeof(ret_refusal->reason), "%s", named.reason);
        rc = -EACCES;
    }
    named_done(&named);
    return rc;
}

int under_allowed_deps(const struct under_ask *ask, const struct under_allowed *allowed,
                       const struct dmi_device *devices, size_t count,
                       struct under_refusal *ret_refusal)
{
    int rc = 0;

    *ret_refusal = (struct under_refusal){0};
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!is_allowed_already(allowed, devices[i])) {
            rc = check_device(ask, NULL, devices[i], ret_refusal);
        }
    }
    return rc;
}
