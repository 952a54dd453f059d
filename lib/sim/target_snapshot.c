/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot and snapshot-merge: an origin as it was, with what differs kept on a
 * second device (COW). `<origin> <cow> <p|po|n> <chunk size> [<count> <feature>...]`
 *
 * Nothing is ever copied here. What shows is the rules: who may share a COW device
 * (a table that takes over from another: the handover), and in which order
 * suspends and resumes must come for it.
 */
#include "target_snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#include "device.h"
#include "snapshot_store.h"
#include "state.h"

struct snapshot {
    struct snapshot *next; /* of all in this world */
    struct sim_target *target;
    struct sim_dev *origin, *cow;
    struct snapshot_store store;
    bool discard_zeroes, discard_passdown;
    bool valid;
    bool active; /* was resumed once */
    bool merges;
};

/* Those that share an origin and a COW device with one (__find_snapshots_sharing_cow). */
struct sharing {
    struct snapshot *source, *target, *merging;
    unsigned int count;
};

static struct dmi_sim *world_of(const struct sim_target *target)
{
    return target->table->device->sim;
}

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static struct sharing find_sharing(const struct snapshot *snapshot)
{
    struct sharing found = {0};

    for (struct snapshot *other = world_of(snapshot->target)->snapshots; other;
         other = other->next) {
        if (other->origin->open->bdev != snapshot->origin->open->bdev)
            continue;
        if (other->merges)
            found.merging = other;
        if (other->cow->open->bdev != snapshot->cow->open->bdev)
            continue;
        if (other->active)
            found.source = other;
        else
            found.target = other;
        found.count++;
    }
    return found;
}

/* --- construction --- */

static int parse_features(struct sim_target *target, struct sim_args *args,
                          struct snapshot *snapshot)
{
    static const struct sim_arg number = {0, 2, "Invalid number of feature arguments"};
    uint32_t count = 0;

    if (!args->count)
        return 0;
    if (sim_args_read_group(args, &number, &count, &target->error) < 0)
        return -EINVAL;
    while (count--) {
        const char *name = sim_args_shift(args);
        if (strcasecmp(name, "discard_zeroes_cow") == 0)
            snapshot->discard_zeroes = true;
        else if (strcasecmp(name, "discard_passdown_origin") == 0)
            snapshot->discard_passdown = true;
        else
            return refuse(target, "Unrecognised feature requested");
    }
    if (snapshot->discard_passdown && !snapshot->discard_zeroes)
        return refuse(target, "discard_passdown_origin feature depends on discard_zeroes_cow");
    return 0;
}

static int open_devices(struct sim_target *target, char **argv, struct snapshot *snapshot)
{
    struct dmi_sim *sim = world_of(target);
    unsigned int origin_mode = snapshot->merges ? SIM_WRITE : SIM_READ;
    uint32_t major, minor;

    int rc = sim_table_get_dev(target, argv[0], origin_mode, &snapshot->origin);
    if (rc < 0) {
        target->error = "Cannot get origin device";
        return rc;
    }
    const struct sim_bdev *origin = snapshot->origin->open->bdev;
    if (sim_bdev_resolve(sim, argv[1], &major, &minor) == 0 && major == origin->major &&
        minor == origin->minor)
        return refuse(target, "COW device cannot be the same as origin device");
    rc = sim_table_get_dev(target, argv[1], target->table->mode, &snapshot->cow);
    if (rc < 0)
        target->error = "Cannot get COW device";
    return rc;
}

/* __validate_exception_handover(): 1 if the store of another table will be taken over. */
static int check_handover(struct snapshot *snapshot)
{
    struct sharing found = find_sharing(snapshot);

    if (found.count == 2 || found.target)
        return refuse(snapshot->target, "Snapshot cow pairing for exception table handover failed");
    if (!found.source)
        return 0;
    if (!snapshot->merges)
        return 1;
    if (found.merging)
        return refuse(snapshot->target, "A snapshot is already merging.");
    return found.source->store.persistent
               ? 1
               : refuse(snapshot->target,
                        "Snapshot exception store does not support snapshot-merge.");
}

static void snapshot_register(struct snapshot *snapshot)
{
    struct snapshot **link = &world_of(snapshot->target)->snapshots;
    while (*link)
        link = &(*link)->next;
    snapshot->next = NULL;
    *link = snapshot;
}

static void snapshot_unregister(struct snapshot *snapshot)
{
    struct snapshot **link = &world_of(snapshot->target)->snapshots;
    while (*link && *link != snapshot)
        link = &(*link)->next;
    if (*link)
        *link = snapshot->next;
}

static int load_store(struct sim_target *target, struct snapshot *snapshot)
{
    int rc = check_handover(snapshot);
    if (rc < 0)
        return rc;
    snapshot_register(snapshot);
    if (rc > 0) {
        snapshot->store.chunk = 0; /* until the handover */
        return 0;
    }
    rc =
        snapshot->store.persistent
            ? sim_snapshot_store_open(world_of(target), snapshot->cow->open->bdev, &snapshot->store)
            : 0;
    if (rc < 0)
        target->error = "Failed to read snapshot metadata";
    else if (!snapshot->store.chunk)
        rc = refuse(target, "Chunk size not set");
    return rc;
}

static int snapshot_parse(struct sim_target *target, unsigned int argc, char **argv,
                          struct snapshot *snapshot)
{
    struct sim_args args = {.count = argc - 4, .words = argv + 4};

    int rc = parse_features(target, &args, snapshot);
    if (rc == 0)
        rc = open_devices(target, argv, snapshot);
    if (rc < 0)
        return rc;
    if (sim_snapshot_store_parse(world_of(target), argv + 2, snapshot->origin->open->bdev,
                                 snapshot->cow->open->bdev, &snapshot->store) < 0)
        return refuse(target, "Couldn't create exception store");
    if (snapshot->merges && !snapshot->store.persistent)
        return refuse(target, "Snapshot exception store does not support snapshot-merge.");
    return load_store(target, snapshot);
}

static void snapshot_free(struct sim_target *target, struct snapshot *snapshot)
{
    snapshot_unregister(snapshot);
    sim_table_put_dev(target, snapshot->cow);
    sim_table_put_dev(target, snapshot->origin);
    free(snapshot);
}

static int snapshot_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc < 4)
        return refuse(target, "requires 4 or more arguments");
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot) {
        target->error = "Cannot allocate private snapshot structure";
        return -ENOMEM;
    }
    snapshot->target = target;
    snapshot->valid = true;
    snapshot->merges = target->type == &sim_target_snapshot_merge;
    int rc = snapshot_parse(target, argc, argv, snapshot);
    if (rc < 0)
        snapshot_free(target, snapshot);
    else
        target->data = snapshot;
    return rc;
}

static void snapshot_dtr(struct sim_target *target)
{
    struct snapshot *snapshot = target->data;
    struct sharing found = find_sharing(snapshot);

    if (found.source == snapshot && found.target) {
        found.target->valid = false;
        sim_log(world_of(target), "snapshots", "Cancelling snapshot handover.");
    }
    snapshot_free(target, snapshot);
}

/* --- resuming --- */

static int snapshot_preresume(struct sim_target *target)
{
    const struct snapshot *snapshot = target->data;
    struct sharing found = find_sharing(snapshot);

    if (!found.source || !found.target)
        return 0;
    if (snapshot == found.source) {
        sim_log(world_of(target), "snapshots",
                "Unable to resume snapshot source until handover completes.");
        return -EINVAL;
    }
    if (!found.source->target->table->device->suspended) {
        sim_log(world_of(target), "snapshots",
                "Unable to perform snapshot handover until source is suspended.");
        return -EINVAL;
    }
    return 0;
}

/* __handover_exceptions() */
static void hand_over(struct snapshot *from, struct snapshot *to)
{
    struct snapshot_store store = from->store;

    store.overflow = to->store.overflow;
    from->store = to->store;
    to->store = store;
    to->valid = from->valid;
    from->valid = false;
}

static void snapshot_resume(struct sim_target *target)
{
    struct snapshot *snapshot = target->data;
    struct sim_device *origin =
        sim_snapshot_origin_device(world_of(target), snapshot->origin->open->bdev);

    if (origin && origin != target->table->device)
        sim_device_settle(origin);
    struct sharing found = find_sharing(snapshot);
    if (found.source && found.target)
        hand_over(found.source, found.target);
    snapshot->active = true;
}

/* --- status --- */

static void snapshot_info(const struct snapshot *snapshot, struct sim_text *out)
{
    uint64_t used =
        snapshot->store.persistent ? (uint64_t)SNAPSHOT_HEADER_CHUNKS * snapshot->store.chunk : 0;
    if (!snapshot->valid)
        sim_emit(out, "Invalid");
    else
        sim_emit(out, "%" PRIu64 "/%" PRIu64 " %" PRIu64, used, snapshot->cow->open->bdev->sectors,
                 used);
}

static void snapshot_table(const struct snapshot *snapshot, struct sim_text *out)
{
    const char *store = !snapshot->store.persistent ? "N" : snapshot->store.overflow ? "PO" : "P";

    sim_emit(out, "%s %s %s %u", snapshot->origin->name, snapshot->cow->name, store,
             snapshot->store.chunk);
    if (snapshot->discard_zeroes)
        sim_emit(out, " %d discard_zeroes_cow%s", snapshot->discard_passdown ? 2 : 1,
                 snapshot->discard_passdown ? " discard_passdown_origin" : "");
}

static void snapshot_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct snapshot *snapshot = target->data;

    switch (kind) {
    case SIM_STATUS_INFO:
        snapshot_info(snapshot, out);
        break;
    case SIM_STATUS_TABLE:
        snapshot_table(snapshot, out);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        sim_emit(out,
                 ",snap_origin_name=%s,snap_cow_name=%s,snap_valid=%c,snap_merge_failed=n,"
                 "snapshot_overflowed=n;",
                 snapshot->origin->name, snapshot->cow->name, snapshot->valid ? 'y' : 'n');
        break;
    }
}

static int snapshot_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct snapshot *snapshot = target->data;
    int rc = fn(target, snapshot->origin, 0, target->length, data);
    if (rc == 0)
        rc = fn(target, snapshot->cow, 0, snapshot->cow->open->bdev->sectors, data);
    return rc;
}

const struct sim_target_type sim_target_snapshot = {
    .name = "snapshot",
    .version = {1, 16, 0},
    .ctr = snapshot_ctr,
    .dtr = snapshot_dtr,
    .status = snapshot_status,
    .iterate = snapshot_iterate,
    .preresume = snapshot_preresume,
    .resume = snapshot_resume,
};

const struct sim_target_type sim_target_snapshot_merge = {
    .name = "snapshot-merge",
    .version = {1, 5, 0},
    .ctr = snapshot_ctr,
    .dtr = snapshot_dtr,
    .status = snapshot_status,
    .iterate = snapshot_iterate,
    .preresume = snapshot_preresume,
    .resume = snapshot_resume,
};
