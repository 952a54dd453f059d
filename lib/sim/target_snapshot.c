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

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "media.h"
#include "state.h"

enum { CHUNK_DEFAULT = 32, HEADER_CHUNKS = 2 };

/* The exception store, which a handover moves to another snapshot. */
struct store {
    bool persistent, overflow;
    uint32_t chunk;
};

struct snapshot {
    struct snapshot *next; /* of all in this world */
    struct sim_target *target;
    struct sim_dev *origin, *cow;
    struct store store;
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

/* dm_exception_store_create(); what it says of the reason is overwritten by its caller. */
static int parse_store(struct sim_target *target, char **argv, struct snapshot *snapshot)
{
    struct store *store = &snapshot->store;
    uint32_t cow_block = snapshot->cow->open->bdev->block_size / 512;
    uint32_t origin_block = snapshot->origin->open->bdev->block_size / 512;
    int kind = toupper((unsigned char)argv[2][0]);

    store->persistent = kind == 'P';
    if ((kind != 'P' && kind != 'N') || !sim_parse_u32(argv[3], &store->chunk))
        return -EINVAL;
    if (store->chunk && ((store->chunk & (store->chunk - 1)) || store->chunk % cow_block ||
                         store->chunk % origin_block || store->chunk > INT_MAX >> 9))
        return -EINVAL;
    if (!store->persistent || !argv[2][1])
        return 0;
    store->overflow = toupper((unsigned char)argv[2][1]) == 'O';
    if (store->overflow)
        return 0;
    sim_log(world_of(target), "persistent snapshot", "Unsupported persistent store option: %s",
            argv[2] + 1);
    return -EINVAL;
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

/* The header, in a chunk of its own, and an empty area after it, which may not fit. */
static int write_header(struct dmi_sim *sim, struct sim_media *media, const struct sim_bdev *cow,
                        const struct store *store)
{
    uint32_t *chunk = malloc(sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    *chunk = store->chunk;
    media->kind = SIM_MEDIA_SNAPSHOT;
    media->content = chunk;
    media->content_free = free;
    if (cow->sectors >= (uint64_t)HEADER_CHUNKS * store->chunk)
        return 0;
    sim_log(sim, "persistent snapshot", "zero_disk_area(0) failed");
    return -EIO;
}

/* persistent_read_metadata(): makes the header on a blank COW device, or reads its chunk size. */
static int read_header(struct snapshot *snapshot)
{
    struct dmi_sim *sim = world_of(snapshot->target);
    struct sim_bdev *cow = snapshot->cow->open->bdev;
    struct store *store = &snapshot->store;
    struct sim_media *media;
    bool supplied = store->chunk;

    if (!supplied)
        store->chunk =
            cow->block_size / 512 > CHUNK_DEFAULT ? cow->block_size / 512 : CHUNK_DEFAULT;
    int rc = cow->sectors < store->chunk ? -EIO : sim_media_find(sim, cow, &media);
    if (rc < 0)
        return rc;
    if (media->kind == SIM_MEDIA_BLANK)
        return write_header(sim, media, cow, store);
    if (media->kind != SIM_MEDIA_SNAPSHOT) {
        sim_log(sim, "persistent snapshot", "Invalid or corrupt snapshot");
        return -ENXIO;
    }
    uint32_t on_disk = *(uint32_t *)media->content;
    if (on_disk != store->chunk && supplied)
        sim_log(sim, "persistent snapshot",
                "chunk size %u in device metadata overrides table chunk size of %u.", on_disk,
                store->chunk);
    store->chunk = on_disk;
    return cow->sectors < (uint64_t)HEADER_CHUNKS * on_disk ? -EIO : 0;
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
    rc = snapshot->store.persistent ? read_header(snapshot) : 0;
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
    if (parse_store(target, argv, snapshot) < 0)
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
    struct store store = from->store;

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
        snapshot->store.persistent ? (uint64_t)HEADER_CHUNKS * snapshot->store.chunk : 0;
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
