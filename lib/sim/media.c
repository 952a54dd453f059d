/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What targets wrote onto devices. A thin pool that is removed and made again over
 * the same metadata device finds its thin devices, whichever linear devices led
 * there: so content belongs to a place on a disk, found through the live tables.
 */
#include "media.h"

#include <errno.h>
#include <stdlib.h>

#include "device.h"
#include "state.h"
#include "wait.h"

enum { DEPTH_MAX = 64 }; /* of stacked devices: a table may lead back to itself */

/* Where sector *sector of *bdev lies one level down. 1: nowhere else. */
static int step_down(struct dmi_sim *sim, struct sim_bdev **bdev, uint64_t *sector)
{
    struct sim_device *device = (*bdev)->mapped;
    struct sim_dev *dev;

    if (!device)
        return *sector < (*bdev)->sectors ? 1 : -EIO;
    device->busy++;
    while (device->suspended)
        (void)sim_wait(sim, SIM_WAIT_FOREVER, false);
    device->busy--;
    struct sim_target *target = device->live ? sim_table_find(device->live, *sector) : NULL;
    if (!target || target->type == &sim_target_error)
        return -EIO;
    if (!target->type->map)
        return 1;
    target->type->map(target, *sector - target->start, &dev, sector);
    *bdev = dev->open->bdev;
    return 0;
}

int sim_media_find(struct dmi_sim *sim, struct sim_bdev *bdev, struct sim_media **ret_media)
{
    uint64_t sector = 0;
    int rc = 0;

    for (unsigned int depth = 0; rc == 0; depth++)
        rc = depth < DEPTH_MAX ? step_down(sim, &bdev, &sector) : -EIO;
    if (rc < 0)
        return rc;

    struct sim_media *media = sim->media;
    while (media && (media->bdev != bdev || media->sector != sector))
        media = media->next;
    if (!media) {
        media = calloc(1, sizeof(*media));
        if (!media)
            return -ENOMEM;
        media->bdev = bdev;
        media->sector = sector;
        media->next = sim->media;
        sim->media = media;
    }
    *ret_media = media;
    return 0;
}

void sim_media_wipe(struct sim_media *media)
{
    if (media->content_free)
        media->content_free(media->content);
    media->kind = SIM_MEDIA_BLANK;
    media->content = NULL;
    media->content_free = NULL;
}

void sim_media_forget(struct dmi_sim *sim, const struct sim_bdev *bdev)
{
    struct sim_media **link = &sim->media;

    while (*link) {
        struct sim_media *media = *link;
        if (bdev && media->bdev != bdev) {
            link = &media->next;
            continue;
        }
        *link = media->next;
        sim_media_wipe(media);
        free(media);
    }
}
