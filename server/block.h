/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - what a host shows of its block devices: their nodes, and sysfs.
 *
 * There are two hosts: this machine (this_host.h) and a simulated one (simulated.h). Nothing is
 * opened but files of sysfs, procfs and /run, so a device that is suspended, or whose disk is
 * gone, holds up nobody; only block_find may have to wait for a file system. Any thread.
 */
#ifndef DMRPC_BLOCK_H
#define DMRPC_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "dmioctl.h"

struct arena;
struct holders;

enum {
    BLOCK_NAME = 128,       /* of an attribute */
    BLOCK_PATH_BYTES = 256, /* of a node */
};

/* What a device is called; "" where there is no such path. */
struct block_paths {
    char node[BLOCK_PATH_BYTES];   /* "/dev/sda" */
    char mapped[BLOCK_PATH_BYTES]; /* "/dev/mapper/NAME" of a mapped one */
};

/* A host that is looked at. */
struct block_host {
    const char *root; /* before "/sys", "/proc" and "/run"; NULL: it has none of them */
    void *data;       /* its own */
    /* The block device at an absolute path. 0 or -errno. */
    int (*find)(const struct block_host *host, const char *path, struct dmi_device *ret_device);
    /* Both are "" of a device that is not there. */
    void (*paths)(const struct block_host *host, struct dmi_device device,
                  struct block_paths *ret_paths);
    /* Who uses it: see holders.h. 0 or -ENOMEM. */
    int (*add_holders)(const struct block_host *host, struct dmi_device device, struct arena *arena,
                       struct holders *holders);
};

/* "254:3": a number that the kernel's dev_t holds, and nothing else. */
bool block_parse(const char *text, struct dmi_device *ret_device);

/* Is it absolute, and does it never go up again, so that no glob is led out of its folder? */
bool block_is_path(const char *text);

/* The block device at an absolute path. 0 or -errno. */
int block_find(const struct block_host *host, const char *path, struct dmi_device *ret_device);

/*
 * The device of "254:3" or of a path below /dev, where no disk is waited for. 0; -EXDEV: it is
 * neither, and nothing was looked at; other -errno: there is none, or why nobody can tell.
 */
int block_look(const struct block_host *host, const char *word, struct dmi_device *ret_device);

/* The first line of a file of the device's folder in sysfs, such as "ro" or "dm/name". */
bool block_attribute(const struct block_host *host, struct dmi_device device, const char *file,
                     char ret_value[BLOCK_NAME]);

/* The first line of a file below the host's root, without its end. False: there is none. */
bool block_read_line(const struct block_host *host, const char *path, char *ret_line, size_t size);

/* What is behind `key` in the first line that begins with it, cut to fit. False: there is none. */
bool block_find_line(const struct block_host *host, const char *path, const char *key,
                     char *ret_rest, size_t size);

#endif
