/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thin pool keeps on its metadata device: block sizes, a transaction id and
 * its volumes. No block is ever mapped, so all that can fill up the metadata is
 * volumes; the numbers of blocks are those that a kernel shows for small pools.
 */
#include "thin_metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "media.h"
#include "state.h"

enum {
    SECTORS_PER_BLOCK = 8,
    BLOCKS_MAX = 255 * ((1 << 14) - 64),
    BLOCKS_MIN = 8,         /* fewer cannot be formatted */
    BITMAP_ENTRIES = 16320, /* of a space map, in one block */
    FIXED_BLOCKS = 7,       /* superblock, roots and indexes */
    RESERVE_MAX = 4096,
    HELD_ROOT = 27, /* where a kernel puts the copy of the superblock as a rule */
};

uint64_t sim_thin_metadata_size(const struct sim_bdev *bdev)
{
    uint64_t blocks = bdev->sectors / SECTORS_PER_BLOCK;
    return blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX;
}

static void metadata_free(void *content)
{
    struct thin_metadata *metadata = content;
    free(metadata->volumes);
    free(metadata);
}

int sim_metadata_too_small(struct dmi_sim *sim, const char *prefix, uint64_t blocks)
{
    if (blocks < 3) {
        sim_log(sim, "space map common", "metadata block out of bounds");
        sim_log(sim, "space map common", "dm_tm_shadow_block() failed");
        sim_log(sim, "space map metadata", "dm_sm_metadata_create: apply_bops failed");
    }
    if (blocks < 4) {
        sim_log(sim, "transaction manager", "couldn't create metadata space map");
        sim_log(sim, prefix, "tm_create_with_sm failed");
        return blocks < 3 ? -EINVAL : -ENOSPC;
    }
    sim_log(sim, "space map metadata", "unable to allocate new metadata block");
    return -ENOSPC;
}

/* What a pool still lacks room for. */
static int pool_too_small(struct dmi_sim *sim, uint64_t blocks)
{
    int rc = sim_metadata_too_small(sim, "thin metadata", blocks);

    if (blocks == 4 || blocks == 5)
        sim_log(sim, "thin metadata", "sm_disk_create failed");
    if (blocks == 7)
        sim_log(sim, "thin metadata", "couldn't create devices root");
    return rc;
}

static int metadata_format(struct dmi_sim *sim, const struct sim_bdev *bdev, uint32_t block_size,
                           struct sim_media *media)
{
    uint64_t blocks = sim_thin_metadata_size(bdev);
    if (blocks < BLOCKS_MIN)
        return pool_too_small(sim, blocks);

    struct thin_metadata *metadata = calloc(1, sizeof(*metadata));
    if (!metadata)
        return -ENOMEM;
    metadata->block_size = block_size;
    metadata->metadata_blocks = blocks;
    media->kind = SIM_MEDIA_THIN;
    media->content = metadata;
    media->content_free = metadata_free;
    return 0;
}

int sim_thin_metadata_open(struct dmi_sim *sim, struct sim_bdev *bdev, uint32_t block_size,
                           bool format, struct thin_metadata **ret_metadata)
{
    struct sim_media *media;

    int rc = sim_media_find(sim, bdev, &media);
    if (rc < 0)
        return rc;
    if (media->kind == SIM_MEDIA_BLANK) {
        rc = format ? metadata_format(sim, bdev, block_size, media) : -EPERM;
        if (rc < 0)
            return rc;
    }
    if (media->kind != SIM_MEDIA_THIN) {
        sim_log(sim, "thin metadata", "couldn't read superblock");
        return -EILSEQ;
    }
    struct thin_metadata *metadata = media->content;
    if (metadata->block_size != block_size) {
        sim_log(sim, "thin metadata",
                "changing the data block size (from %u to %u) is not supported",
                metadata->block_size, block_size);
        return -EINVAL;
    }
    metadata->data_grown = metadata->data_blocks;
    *ret_metadata = metadata;
    return 0;
}

static uint64_t bitmaps(uint64_t blocks)
{
    return (blocks + BITMAP_ENTRIES - 1) / BITMAP_ENTRIES;
}

/* sm_disk_extend(): it counts from what was committed, but adds to what was not. */
int sim_thin_metadata_grow_data(struct thin_metadata *metadata, uint64_t blocks, bool read_only)
{
    uint64_t grown = metadata->data_grown + blocks - metadata->data_blocks;

    if (read_only && bitmaps(grown) > bitmaps(metadata->data_grown))
        return -EPERM;
    metadata->data_grown = grown;
    return 0;
}

void sim_thin_metadata_commit(struct thin_metadata *metadata)
{
    metadata->data_blocks = metadata->data_grown;
}

/* The place of `id` among the volumes, whether it is there or not. */
static uint32_t volume_place(const struct thin_metadata *metadata, uint64_t id)
{
    uint32_t low = 0, high = metadata->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (metadata->volumes[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct thin_volume *volume_find(const struct thin_metadata *metadata, uint64_t id)
{
    uint32_t place = volume_place(metadata, id);
    bool there = place < metadata->count && metadata->volumes[place].id == id;
    return there ? &metadata->volumes[place] : NULL;
}

static int volume_insert(struct thin_metadata *metadata, uint64_t id, uint32_t root)
{
    if (metadata->count == metadata->room) {
        uint32_t room = metadata->room ? metadata->room * 2 : 8;
        struct thin_volume *larger = reallocarray(metadata->volumes, room, sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        metadata->volumes = larger;
        metadata->room = room;
    }
    uint32_t place = volume_place(metadata, id);
    memmove(metadata->volumes + place + 1, metadata->volumes + place,
            (metadata->count - place) * sizeof(*metadata->volumes));
    metadata->volumes[place] = (struct thin_volume){.id = id, .root = root};
    metadata->count++;
    return 0;
}

int sim_thin_metadata_create(struct thin_metadata *metadata, uint64_t id)
{
    int rc =
        volume_find(metadata, id) ? -EEXIST : volume_insert(metadata, id, ++metadata->last_root);
    if (rc == 0)
        metadata->roots++;
    return rc;
}

int sim_thin_metadata_snapshot(struct thin_metadata *metadata, uint64_t id, uint64_t origin)
{
    if (volume_find(metadata, id))
        return -EEXIST;
    const struct thin_volume *volume = volume_find(metadata, origin);
    return volume ? volume_insert(metadata, id, volume->root) : -ENODATA;
}

static bool root_is_shared(const struct thin_metadata *metadata, const struct thin_volume *volume)
{
    for (uint32_t i = 0; i < metadata->count; i++)
        if (&metadata->volumes[i] != volume && metadata->volumes[i].root == volume->root)
            return true;
    return false;
}

int sim_thin_metadata_delete(struct thin_metadata *metadata, uint64_t id)
{
    struct thin_volume *volume = volume_find(metadata, id);
    if (!volume)
        return -ENODATA;
    if (volume->opens)
        return -EBUSY;
    metadata->roots -= !root_is_shared(metadata, volume);
    metadata->count--;
    memmove(volume, volume + 1,
            (size_t)(metadata->volumes + metadata->count - volume) * sizeof(*volume));
    return 0;
}

int sim_thin_metadata_open_volume(struct thin_metadata *metadata, uint64_t id)
{
    struct thin_volume *volume = volume_find(metadata, id);
    if (!volume)
        return -ENODATA;
    volume->opens++;
    return 0;
}

void sim_thin_metadata_close_volume(struct thin_metadata *metadata, uint64_t id)
{
    struct thin_volume *volume = volume_find(metadata, id);
    if (volume)
        volume->opens--;
}

int sim_thin_metadata_hold(struct dmi_sim *sim, struct thin_metadata *metadata)
{
    if (metadata->held_root) {
        sim_log(sim, "thin metadata",
                "Pool metadata snapshot already exists: release this before taking another.");
        return -EBUSY;
    }
    metadata->held_root = HELD_ROOT;
    return 0;
}

int sim_thin_metadata_release(struct dmi_sim *sim, struct thin_metadata *metadata)
{
    if (!metadata->held_root) {
        sim_log(sim, "thin metadata", "No pool metadata snapshot found: nothing to release.");
        return -EINVAL;
    }
    metadata->held_root = 0;
    return 0;
}

uint64_t sim_thin_metadata_used(const struct thin_metadata *metadata)
{
    uint64_t total = metadata->metadata_blocks;
    uint64_t reserve = total / 10 < RESERVE_MAX ? total / 10 : RESERVE_MAX;
    uint64_t used = FIXED_BLOCKS + bitmaps(total) + bitmaps(metadata->data_blocks) + reserve +
                    metadata->roots + (metadata->held_root != 0);
    return used < total ? used : total;
}
