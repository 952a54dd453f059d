/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that tables have open. Two layers, as in the kernel, because both
 * show: a table lists each device once (table_deps), and a mapped device opens
 * another once for all of its tables that use it in the same mode, so that is
 * what counts in the other's open_count.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "device.h"
#include "state.h"
#include "table.h"

/* dm_get_table_device() */
static int open_get(struct sim_device *device, uint32_t major, uint32_t minor, unsigned int mode,
                    struct sim_open **ret_open)
{
    for (struct sim_open *open = device->opens; open; open = open->next)
        if (open->bdev->major == major && open->bdev->minor == minor && open->mode == mode) {
            open->count++;
            *ret_open = open;
            return 0;
        }

    struct sim_open *open = calloc(1, sizeof(*open));
    if (!open)
        return -ENOMEM;
    int rc = sim_bdev_open(device->sim, major, minor, &open->bdev);
    if (rc < 0) {
        free(open);
        return rc;
    }
    open->mode = mode;
    open->count = 1;
    open->next = device->opens;
    device->opens = open;
    *ret_open = open;
    return 0;
}

/* dm_put_table_device() */
static void open_put(struct sim_device *device, struct sim_open *open)
{
    if (--open->count)
        return;

    struct sim_open **link = &device->opens;
    while (*link != open)
        link = &(*link)->next;
    *link = open->next;
    sim_bdev_close(device->sim, open->bdev);
    free(open);
}

static struct sim_dev *dev_find(const struct sim_table *table, uint32_t major, uint32_t minor)
{
    struct sim_dev *dev = table->devs;
    while (dev && (dev->open->bdev->major != major || dev->open->bdev->minor != minor))
        dev = dev->next;
    return dev;
}

static int dev_new(struct sim_table *table, uint32_t major, uint32_t minor, unsigned int mode,
                   struct sim_dev **ret_dev)
{
    struct sim_dev *dev = calloc(1, sizeof(*dev));
    if (!dev)
        return -ENOMEM;
    int rc = open_get(table->device, major, minor, mode, &dev->open);
    if (rc < 0) {
        free(dev);
        return rc;
    }
    (void)snprintf(dev->name, sizeof(dev->name), "%u:%u", major, minor);
    dev->next = table->devs;
    table->devs = dev;
    *ret_dev = dev;
    return 0;
}

/* upgrade_mode(): the same device, opened once more for what another target wants to do. */
static int dev_upgrade(struct sim_table *table, struct sim_dev *dev, unsigned int mode)
{
    struct sim_open *open = dev->open;
    int rc = open_get(table->device, open->bdev->major, open->bdev->minor, open->mode | mode,
                      &dev->open);
    if (rc == 0)
        open_put(table->device, open);
    return rc;
}

int sim_table_get_dev(struct sim_target *target, const char *word, unsigned int mode,
                      struct sim_dev **ret_dev)
{
    struct sim_table *table = target->table;
    uint32_t major, minor;
    int rc = sim_bdev_resolve(table->device->sim, word, &major, &minor);
    if (rc < 0)
        return rc;

    struct sim_dev *dev = dev_find(table, major, minor);
    if (!dev)
        rc = dev_new(table, major, minor, mode, &dev);
    else if ((dev->open->mode | mode) != dev->open->mode)
        rc = dev_upgrade(table, dev, mode);
    if (rc < 0)
        return rc;
    dev->count++;
    *ret_dev = dev;
    return 0;
}

void sim_table_put_dev(struct sim_target *target, struct sim_dev *dev)
{
    if (!dev || --dev->count)
        return;

    struct sim_table *table = target->table;
    struct sim_dev **link = &table->devs;
    while (*link != dev)
        link = &(*link)->next;
    *link = dev->next;
    open_put(table->device, dev->open);
    free(dev);
}
