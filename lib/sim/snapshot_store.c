/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a snapshot keeps what differs from its origin: in memory, or on its COW
 * device behind a header that outlives the snapshot. Of all that is kept there only
 * the chunk size shows here.
 */
#include "snapshot_store.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "args.h"
#include "media.h"
#include "state.h"

enum { CHUNK_DEFAULT = 32 };

/* dm_exception_store_create(); what it says of the reason is overwritten by its caller. */
int sim_snapshot_store_parse(struct dmi_sim *sim, char **argv, const struct sim_bdev *origin,
                             const struct sim_bdev *cow, struct snapshot_store *store)
{
    uint32_t cow_block = cow->block_size / 512;
    uint32_t origin_block = origin->block_size / 512;
    int kind = toupper((unsigned char)argv[0][0]);

    store->persistent = kind == 'P';
    if ((kind != 'P' && kind != 'N') || !sim_parse_u32(argv[1], &store->chunk))
        return -EINVAL;
    if (store->chunk && ((store->chunk & (store->chunk - 1)) || store->chunk % cow_block ||
                         store->chunk % origin_block || store->chunk > INT_MAX >> 9))
        return -EINVAL;
    if (!store->persistent || !argv[0][1])
        return 0;
    store->overflow = toupper((unsigned char)argv[0][1]) == 'O';
    if (store->overflow)
        return 0;
    sim_log(sim, "persistent snapshot", "Unsupported persistent store option: %s", argv[0] + 1);
    return -EINVAL;
}

/* The header, in a chunk of its own, and an empty area after it, which may not fit. */
static int write_header(struct dmi_sim *sim, struct sim_media *media, const struct sim_bdev *cow,
                        const struct snapshot_store *store)
{
    uint32_t *chunk = malloc(sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    *chunk = store->chunk;
    media->kind = SIM_MEDIA_SNAPSHOT;
    media->content = chunk;
    media->content_free = free;
    if (cow->sectors >= (uint64_t)SNAPSHOT_HEADER_CHUNKS * store->chunk)
        return 0;
    sim_log(sim, "persistent snapshot", "zero_disk_area(0) failed");
    return -EIO;
}

/* persistent_read_metadata(): makes the header on a blank COW device, or reads its chunk size. */
int sim_snapshot_store_open(struct dmi_sim *sim, struct sim_bdev *cow, struct snapshot_store *store)
{
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
    return cow->sectors < (uint64_t)SNAPSHOT_HEADER_CHUNKS * on_disk ? -EIO : 0;
}
