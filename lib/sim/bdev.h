/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bdev.h - block devices as tables see them: declared disks and mapped devices.
 */
#ifndef SIM_BDEV_H
#define SIM_BDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim.h"

struct dmi_sim;
struct sim_device;

/* Embedded in each disk and in each mapped device. */
struct sim_bdev {
    uint32_t major, minor;
    uint64_t sectors;
    uint32_t block_size;
    bool read_only;
    bool discards;
    bool claimed;              /* by something other than device-mapper */
    unsigned int users;        /* opens by tables */
    struct sim_device *mapped; /* NULL: a declared disk */
};

struct sim_disk {
    struct sim_bdev bdev;
    char path[DMI_SIM_PATH_MAX + 1];
};

struct sim_disks {
    struct sim_disk **entries; /* oldest first */
    size_t count;
};

void sim_disks_done(struct sim_disks *disks);

/* dm_get_dev_t(): the number behind a table line's word for a device. 0, -ENODEV or -EOVERFLOW. */
int sim_bdev_resolve(struct dmi_sim *sim, const char *word, uint32_t *ret_major,
                     uint32_t *ret_minor);

/*
 * blkdev_get_by_dev() in device-mapper's name: -ENXIO if there is no such device
 * (or not yet, or not any more), -EBUSY if something else has it exclusively.
 */
int sim_bdev_open(struct dmi_sim *sim, uint32_t major, uint32_t minor, struct sim_bdev **ret_bdev);

/* How the kernel's %pg names a device: "dm-0", "loop0". */
void sim_bdev_label(const struct sim_bdev *bdev, char *label, size_t size);

/* May be the last close of a device that waits to be removed. */
void sim_bdev_close(struct dmi_sim *sim, struct sim_bdev *bdev);

#endif
