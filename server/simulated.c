/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host without udev, sysfs and /dev/kmsg: the simulated kernel knows itself what its devices
 * are called, and what it said.
 */
#include "simulated.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "holders.h"
#include "sim/sim.h"
#include "transport.h"

/* --- block devices --- */

static int find(const struct block_host *host, const char *path, struct dmi_device *ret_device)
{
    return dmi_sim_find(host->data, path, ret_device);
}

static void paths(const struct block_host *host, struct dmi_device device,
                  struct block_paths *ret_paths)
{
    dmi_sim_name(host->data, device, ret_paths->node, ret_paths->mapped, BLOCK_PATH_BYTES);
}

/* Has `upper` the device in its live or inactive table? */
static bool is_stacked(struct dmi *dm, struct dmi_device upper, struct dmi_device device)
{
    static const uint32_t tables[] = {0, DMI_QUERY_INACTIVE_TABLE};
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = upper};
    bool found = false;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !found; i++) {
        struct dmi_deps deps = {0};
        if (dmi_table_deps(dm, &id, tables[i], &deps) == 0) {
            for (size_t k = 0; k < deps.count; k++) {
                found = found || dmi_device_equal(deps.devices[k], device);
            }
            dmi_deps_done(&deps);
        }
    }
    return found;
}

static int put_stacked(const struct dmi_device_entry *entry, struct arena *arena,
                       struct holders *holders)
{
    char path[32];
    const struct holder holder = {.kind = "holder",
                                  .path = path,
                                  .name = entry->name,
                                  .has_device = true,
                                  .device = {entry->device.major, entry->device.minor}};

    (void)snprintf(path, sizeof(path), "/dev/dm-%u", entry->device.minor);
    return holders_put(holders, arena, &holder);
}

static int add_holders(const struct block_host *host, struct dmi_device device, struct arena *arena,
                       struct holders *holders)
{
    struct dmi_device_list list = {0};
    struct dmi_transport *transport;
    struct dmi dm;
    int rc = dmi_sim_open(host->data, &transport);

    if (rc < 0) {
        return rc;
    }
    dmi_init(&dm, transport);
    if (dmi_list_devices(&dm, NULL, NULL, &list) == 0) {
        dmi_device_list_sort(&list);
    }
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        if (is_stacked(&dm, list.entries[i].device, device)) {
            rc = put_stacked(&list.entries[i], arena, holders);
        }
    }
    dmi_device_list_done(&list);
    dmi_transport_free(transport);
    return rc;
}

struct block_host simulated_host(struct dmi_sim *sim)
{
    return (struct block_host){
        .data = sim, .find = find, .paths = paths, .add_holders = add_holders};
}

/* --- the kernel's log --- */

struct reader {
    struct dmi_sim *sim;
    uint64_t cursor;
};

static int next(void *data, char *ret_line, size_t size)
{
    struct reader *reader = data;

    return dmi_sim_log(reader->sim, &reader->cursor, ret_line, size);
}

static int skip(void *data)
{
    struct reader *reader = data;

    reader->cursor = dmi_sim_log_end(reader->sim);
    return 0;
}

int simulated_log_open(struct dmi_sim *sim, struct kernel_log **ret_log)
{
    struct reader *reader = calloc(1, sizeof(*reader));

    if (!reader) {
        return -ENOMEM;
    }
    reader->sim = sim;
    const struct kernel_log_source source = {
        .next = next, .skip = skip, .close = free, .data = reader};
    return kernel_log_new(&source, ret_log);
}
