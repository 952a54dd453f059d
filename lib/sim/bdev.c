/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices as tables see them: which number a word in a table line stands
 * for, and opening it. Declared disks live here; mapped devices are found in the
 * registry. It does not know which table opens what.
 */
#include "bdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "device.h"
#include "media.h"
#include "state.h"

enum { MAJOR_MAX = (1 << 12) - 1, MINOR_MAX = (1 << 20) - 1, FREE_MAJOR = 259 };

static struct sim_disk *disk_find(const struct sim_disks *disks, uint32_t major, uint32_t minor)
{
    for (size_t i = 0; i < disks->count; i++)
        if (disks->entries[i]->bdev.major == major && disks->entries[i]->bdev.minor == minor)
            return disks->entries[i];
    return NULL;
}

static struct sim_disk *disk_find_path(const struct sim_disks *disks, const char *path)
{
    for (size_t i = 0; i < disks->count; i++)
        if (strcmp(disks->entries[i]->path, path) == 0)
            return disks->entries[i];
    return NULL;
}

void sim_disks_done(struct sim_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++)
        free(disks->entries[i]);
    free(disks->entries);
    *disks = (struct sim_disks){0};
}

/* The mapped device of a path that udev and devtmpfs would have made. */
static struct sim_device *mapped_by_path(struct dmi_sim *sim, const char *path)
{
    static const char by_name[] = "/dev/mapper/", by_minor[] = "/dev/dm-";
    struct sim_device *device = NULL;
    uint32_t minor;

    if (strncmp(path, by_name, sizeof(by_name) - 1) == 0)
        device = sim_registry_by_name(&sim->devices, path + sizeof(by_name) - 1);
    else if (strncmp(path, by_minor, sizeof(by_minor) - 1) == 0 &&
             sim_parse_u32(path + sizeof(by_minor) - 1, &minor))
        device = sim_minors_find(&sim->devices.minors, minor);
    return device && device->has_disk ? device : NULL;
}

/* "major:minor:offset", whatever follows it but another colon. */
static bool scan_with_offset(const char *word, uint32_t *ret_major, uint32_t *ret_minor)
{
    uint64_t major, minor, offset;
    if (!sim_scan_prefix(&word, &major) || *word++ != ':' || !sim_scan_prefix(&word, &minor) ||
        *word++ != ':' || !sim_scan_prefix(&word, &offset) || (word[0] == ':' && word[1]))
        return false;
    *ret_major = (uint32_t)major;
    *ret_minor = (uint32_t)minor;
    return true;
}

/* new_encode_dev() in hexadecimal */
static bool scan_hexadecimal(const char *word, uint32_t *ret_major, uint32_t *ret_minor)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t value = 0;

    for (; *word; word++) {
        const char *digit = strchr(digits, *word | 0x20);
        if (!digit)
            return false;
        value = value << 4 | (uint32_t)(digit - digits);
    }
    *ret_major = (value & 0xfff00) >> 8;
    *ret_minor = (value & 0xff) | ((value >> 12) & 0xfff00);
    return value != 0;
}

/* devt_from_devnum(): what a word may be that is neither a path nor major:minor. */
static int resolve_number(const char *word, uint32_t *ret_major, uint32_t *ret_minor)
{
    if (scan_with_offset(word, ret_major, ret_minor))
        return *ret_major > MAJOR_MAX || *ret_minor > MINOR_MAX ? -ENODEV : 0;
    return scan_hexadecimal(word, ret_major, ret_minor) ? 0 : -ENODEV;
}

static const struct sim_bdev *find_by_path(struct dmi_sim *sim, const char *path)
{
    const struct sim_disk *disk = disk_find_path(&sim->disks, path);
    const struct sim_device *mapped = disk ? NULL : mapped_by_path(sim, path);

    return disk ? &disk->bdev : mapped ? &mapped->bdev : NULL;
}

int sim_bdev_resolve(struct dmi_sim *sim, const char *word, uint32_t *ret_major,
                     uint32_t *ret_minor)
{
    if (sim_scan_device(word, ret_major, ret_minor))
        return *ret_major > MAJOR_MAX || *ret_minor > MINOR_MAX ? -EOVERFLOW : 0;

    const struct sim_bdev *bdev = find_by_path(sim, word);
    if (!bdev)
        return resolve_number(word, ret_major, ret_minor);
    *ret_major = bdev->major;
    *ret_minor = bdev->minor;
    return 0;
}

int sim_bdev_open(struct dmi_sim *sim, uint32_t major, uint32_t minor, struct sim_bdev **ret_bdev)
{
    struct sim_bdev *bdev;

    if (major == DMI_SIM_MAJOR) {
        struct sim_device *device = sim_minors_find(&sim->devices.minors, minor);
        if (!device || !device->has_disk)
            return -ENXIO;
        bdev = &device->bdev;
    } else {
        struct sim_disk *disk = disk_find(&sim->disks, major, minor);
        if (!disk)
            return -ENXIO;
        bdev = &disk->bdev;
    }
    if (bdev->claimed)
        return -EBUSY;

    bdev->users++;
    if (bdev->mapped)
        sim_device_opened(bdev->mapped);
    *ret_bdev = bdev;
    return 0;
}

void sim_bdev_close(struct dmi_sim *sim, struct sim_bdev *bdev)
{
    (void)sim;
    bdev->users--;
    if (bdev->mapped)
        sim_device_closed(bdev->mapped);
}

void sim_bdev_label(const struct sim_bdev *bdev, char *label, size_t size)
{
    if (bdev->mapped) {
        (void)snprintf(label, size, "dm-%u", bdev->minor);
        return;
    }
    const struct sim_disk *disk = (const struct sim_disk *)bdev;
    bool below_dev = strncmp(disk->path, "/dev/", 5) == 0;
    (void)snprintf(label, size, "%s", disk->path + (below_dev ? 5 : 1));
}

/* --- sim.h --- */

static bool disk_is_sound(const struct dmi_sim_disk *disk)
{
    size_t length = strnlen(disk->path, sizeof(disk->path));
    uint32_t block = disk->block_size ? disk->block_size : 512;

    return length < sizeof(disk->path) && disk->path[0] == '/' && length > 1 && block >= 512 &&
           block <= 4096 && (block & (block - 1)) == 0 && disk->device.major != DMI_SIM_MAJOR &&
           disk->device.major <= MAJOR_MAX && disk->device.minor <= MINOR_MAX;
}

static struct dmi_device disk_number(const struct sim_disks *disks, struct dmi_device wanted)
{
    if (wanted.major == 0 && wanted.minor == 0) {
        wanted.major = FREE_MAJOR;
        while (disk_find(disks, wanted.major, wanted.minor))
            wanted.minor++;
    }
    return wanted;
}

static int disk_append(struct sim_disks *disks, const struct dmi_sim_disk *model,
                       struct dmi_device number)
{
    struct sim_disk **larger =
        reallocarray(disks->entries, disks->count + 1, sizeof(*disks->entries));
    if (!larger)
        return -ENOMEM;
    disks->entries = larger;

    struct sim_disk *disk = calloc(1, sizeof(*disk));
    if (!disk)
        return -ENOMEM;
    disk->bdev = (struct sim_bdev){.major = number.major,
                                   .minor = number.minor,
                                   .sectors = model->sectors,
                                   .block_size = model->block_size ? model->block_size : 512,
                                   .read_only = model->read_only,
                                   .discards = true,
                                   .claimed = model->claimed};
    (void)snprintf(disk->path, sizeof(disk->path), "%s", model->path);
    disks->entries[disks->count++] = disk;
    return 0;
}

int dmi_sim_disk_add(struct dmi_sim *sim, const struct dmi_sim_disk *disk,
                     struct dmi_device *ret_device)
{
    if (!disk_is_sound(disk))
        return -EINVAL;

    sim_lock(sim);
    struct dmi_device number = disk_number(&sim->disks, disk->device);
    int rc = -EEXIST;
    if (!disk_find(&sim->disks, number.major, number.minor) &&
        !disk_find_path(&sim->disks, disk->path))
        rc = disk_append(&sim->disks, disk, number);
    sim_unlock(sim);

    if (rc == 0 && ret_device)
        *ret_device = number;
    return rc;
}

int dmi_sim_disk_remove(struct dmi_sim *sim, struct dmi_device device)
{
    sim_lock(sim);
    struct sim_disks *disks = &sim->disks;
    struct sim_disk *disk = disk_find(disks, device.major, device.minor);
    int rc = !disk ? -ENXIO : disk->bdev.users ? -EBUSY : 0;
    if (rc == 0) {
        size_t at = 0;
        while (disks->entries[at] != disk)
            at++;
        disks->count--;
        memmove(disks->entries + at, disks->entries + at + 1,
                (disks->count - at) * sizeof(*disks->entries));
        sim_media_forget(sim, &disk->bdev);
        free(disk);
    }
    sim_unlock(sim);
    return rc;
}

int dmi_sim_disk_resize(struct dmi_sim *sim, struct dmi_device device, uint64_t sectors)
{
    sim_lock(sim);
    struct sim_disk *disk = disk_find(&sim->disks, device.major, device.minor);
    if (disk)
        disk->bdev.sectors = sectors;
    sim_unlock(sim);
    return disk ? 0 : -ENXIO;
}

int dmi_sim_disk_wipe(struct dmi_sim *sim, struct dmi_device device)
{
    sim_lock(sim);
    struct sim_disk *disk = disk_find(&sim->disks, device.major, device.minor);
    int rc = !disk ? -ENXIO : disk->bdev.users ? -EBUSY : 0;
    if (rc == 0)
        sim_media_forget(sim, &disk->bdev);
    sim_unlock(sim);
    return rc;
}

int dmi_sim_disk_claim(struct dmi_sim *sim, struct dmi_device device, bool claimed)
{
    sim_lock(sim);
    struct sim_disk *disk = disk_find(&sim->disks, device.major, device.minor);
    int rc = !disk ? -ENXIO : claimed && disk->bdev.users ? -EBUSY : 0;
    if (rc == 0)
        disk->bdev.claimed = claimed;
    sim_unlock(sim);
    return rc;
}

static void disk_describe(const struct sim_disk *disk, struct dmi_sim_disk *ret_disk)
{
    *ret_disk = (struct dmi_sim_disk){.device = {disk->bdev.major, disk->bdev.minor},
                                      .sectors = disk->bdev.sectors,
                                      .block_size = disk->bdev.block_size,
                                      .read_only = disk->bdev.read_only,
                                      .claimed = disk->bdev.claimed,
                                      .users = disk->bdev.users};
    memcpy(ret_disk->path, disk->path, sizeof(ret_disk->path));
}

int dmi_sim_disks(struct dmi_sim *sim, struct dmi_sim_disk **ret_disks, size_t *ret_count)
{
    sim_lock(sim);
    size_t count = sim->disks.count;
    struct dmi_sim_disk *disks = count ? calloc(count, sizeof(*disks)) : NULL;
    int rc = count && !disks ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        disk_describe(sim->disks.entries[i], &disks[i]);
    sim_unlock(sim);

    if (rc == 0) {
        *ret_disks = disks;
        *ret_count = count;
    }
    return rc;
}

int dmi_sim_find(struct dmi_sim *sim, const char *path, struct dmi_device *ret_device)
{
    sim_lock(sim);
    const struct sim_bdev *bdev = find_by_path(sim, path);
    if (bdev)
        *ret_device = (struct dmi_device){bdev->major, bdev->minor};
    sim_unlock(sim);
    return bdev ? 0 : -ENOENT;
}

void dmi_sim_name(struct dmi_sim *sim, struct dmi_device device, char *ret_node, char *ret_mapped,
                  size_t size)
{
    *ret_node = *ret_mapped = '\0';
    sim_lock(sim);
    const struct sim_disk *disk = disk_find(&sim->disks, device.major, device.minor);
    const struct sim_device *mapped =
        device.major == DMI_SIM_MAJOR ? sim_minors_find(&sim->devices.minors, device.minor) : NULL;
    if (disk)
        (void)snprintf(ret_node, size, "%s", disk->path);
    if (mapped) {
        (void)snprintf(ret_node, size, "/dev/dm-%u", device.minor);
        (void)snprintf(ret_mapped, size, "/dev/mapper/%s", mapped->name);
    }
    sim_unlock(sim);
}
