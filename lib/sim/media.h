/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.h - what targets wrote onto devices: their metadata, by place.
 *
 * The only data that the simulated kernel keeps. A place is a sector of a disk (or
 * of a mapped device whose own table does not say where its sectors lie).
 */
#ifndef SIM_MEDIA_H
#define SIM_MEDIA_H

#include <stdint.h>

#include "bdev.h"

enum sim_media_kind {
    SIM_MEDIA_BLANK,
    SIM_MEDIA_SNAPSHOT,
    SIM_MEDIA_THIN,
    SIM_MEDIA_CACHE,
    SIM_MEDIA_RAID
};

struct sim_media {
    struct sim_media *next;
    const struct sim_bdev *bdev;
    uint64_t sector;
    enum sim_media_kind kind;
    void *content;
    void (*content_free)(void *content);
};

/*
 * What lies at the beginning of `bdev`; owned by the world until the device goes or
 * is wiped. -EIO: it cannot be read; -ENOMEM. Sleeps while a device on the way is
 * suspended, as reading it would.
 */
int sim_media_find(struct dmi_sim *sim, struct sim_bdev *bdev, struct sim_media **ret_media);

/* Makes it blank. */
void sim_media_wipe(struct sim_media *media);

/* Forgets all that lies on `bdev`; NULL: everything. */
void sim_media_forget(struct dmi_sim *sim, const struct sim_bdev *bdev);

#endif
