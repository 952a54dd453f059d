/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the kernel what its block devices are called: a path by its inode, a number by sysfs.
 */
#include "this_host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "holders.h"

static int find(const struct block_host *host, const char *path, struct dmi_device *ret_device)
{
    struct stat st;

    (void)host;
    if (stat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISBLK(st.st_mode)) {
        return -ENOTBLK;
    }
    *ret_device = (struct dmi_device){.major = major(st.st_rdev), .minor = minor(st.st_rdev)};
    return 0;
}

/* "" where what is behind the prefix is empty or too long. */
static void put_path(char ret_path[BLOCK_PATH_BYTES], const char *prefix, const char *name)
{
    int length = *name ? snprintf(ret_path, BLOCK_PATH_BYTES, "%s%s", prefix, name) : 0;

    if (length <= 0 || length >= BLOCK_PATH_BYTES) {
        *ret_path = '\0';
    }
}

/* Where udev, or the kernel's devtmpfs, makes its node: the driver may have chosen a folder. */
static void read_node(const struct block_host *host, struct dmi_device device,
                      char ret_node[BLOCK_PATH_BYTES])
{
    char path[64];
    char name[BLOCK_PATH_BYTES];

    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", device.major, device.minor);
    if (block_find_line(host, path, "DEVNAME=", name, sizeof(name))) {
        put_path(ret_node, "/dev/", name);
    }
}

static void paths(const struct block_host *host, struct dmi_device device,
                  struct block_paths *ret_paths)
{
    char name[BLOCK_NAME];

    *ret_paths = (struct block_paths){0};
    read_node(host, device, ret_paths->node);
    if (block_attribute(host, device, "dm/name", name)) {
        put_path(ret_paths->mapped, "/dev/mapper/", name);
    }
}

const struct block_host this_host = {
    .root = "", .find = find, .paths = paths, .add_holders = holders_add};
