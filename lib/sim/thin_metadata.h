/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thin_metadata.h - what a thin pool keeps on its metadata device.
 */
#ifndef SIM_THIN_METADATA_H
#define SIM_THIN_METADATA_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev.h"

struct dmi_sim;

enum { THIN_ID_MAX = (1 << 24) - 1 };

struct thin_volume {
    uint64_t id;
    unsigned int opens; /* by targets */
    uint32_t root;      /* of its mappings: a snapshot shares its origin's */
};

struct thin_metadata {
    uint32_t block_size; /* of data, in sectors */
    uint64_t transaction_id;
    uint64_t data_blocks, metadata_blocks;
    uint64_t data_grown; /* data_blocks of the next commit */
    uint64_t held_root;  /* 0: none */
    uint32_t last_root;
    uint32_t roots;              /* in use */
    struct thin_volume *volumes; /* by id */
    uint32_t count, room;
};

/* Of a device, in metadata blocks of 4 KiB, as far as the kernel uses them. */
uint64_t sim_thin_metadata_size(const struct sim_bdev *bdev);

/*
 * Says, and returns, what a kernel does where so few blocks cannot be formatted; `prefix` is
 * "thin metadata" or "cache metadata".
 */
int sim_metadata_too_small(struct dmi_sim *sim, const char *prefix, uint64_t blocks);

/*
 * dm_pool_metadata_open(): reads what lies on `bdev`, or formats it. The metadata
 * belongs to the place (media.h). -EPERM: blank, and `format` is false; -EINVAL:
 * other block size, or too small; -ENOSPC; -EILSEQ: something else lies there;
 * -EIO; -ENOMEM.
 */
int sim_thin_metadata_open(struct dmi_sim *sim, struct sim_bdev *bdev, uint32_t block_size,
                           bool format, struct thin_metadata **ret_metadata);

/*
 * More room for data, which shows after a commit. -EPERM: a pool that is read-only has no
 * block to describe it in.
 */
int sim_thin_metadata_grow_data(struct thin_metadata *metadata, uint64_t blocks, bool read_only);
void sim_thin_metadata_commit(struct thin_metadata *metadata);

/* -ENODATA: no such volume; -EEXIST, -EBUSY (it is open), -ENOMEM. */
int sim_thin_metadata_create(struct thin_metadata *metadata, uint64_t id);
int sim_thin_metadata_snapshot(struct thin_metadata *metadata, uint64_t id, uint64_t origin);
int sim_thin_metadata_delete(struct thin_metadata *metadata, uint64_t id);
int sim_thin_metadata_open_volume(struct thin_metadata *metadata, uint64_t id);
void sim_thin_metadata_close_volume(struct thin_metadata *metadata, uint64_t id);

/* -EBUSY: there is one; -EINVAL: there is none. */
int sim_thin_metadata_hold(struct dmi_sim *sim, struct thin_metadata *metadata);
int sim_thin_metadata_release(struct dmi_sim *sim, struct thin_metadata *metadata);

/* Blocks in use, with those that the kernel keeps in reserve. */
uint64_t sim_thin_metadata_used(const struct thin_metadata *metadata);

#endif
