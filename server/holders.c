/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads who uses a device from where the kernel lists it: /sys/dev/block/N/holders,
 * /proc/self/mountinfo, /proc/swaps and /sys/block/loop*. It judges nothing.
 *
 * Who has claimed a disk has its partitions, and who has one of those keeps others from the disk:
 * so a disk is searched for together with its partitions, and a partition with its disk.
 */
#include "holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RELATED_MAX = 257 }; /* as many partitions as the kernel has for a disk, and the disk */

/* One search. */
struct search {
    const struct block_host *host;
    struct dmi_device devices[RELATED_MAX]; /* the first is what is searched for */
    size_t count;
    struct arena *arena;
    struct holders *holders;
};

static const char *copy(struct arena *arena, const char *text)
{
    return text ? arena_copy(arena, text, strlen(text)) : NULL;
}

int holders_put(struct holders *holders, struct arena *arena, const struct holder *holder)
{
    if (holders->count == HOLDERS_MAX) {
        return 0;
    }
    if (!holders->items) {
        holders->items = arena_alloc(arena, HOLDERS_MAX, sizeof(*holders->items));
    }
    const char *path = copy(arena, holder->path);
    const char *name = copy(arena, holder->name);
    if (!holders->items || !path || (holder->name && !name)) {
        return -ENOMEM;
    }
    struct holder *item = &holders->items[holders->count++];
    *item = *holder;
    item->path = path;
    item->name = name;
    return 0;
}

/* --- devices --- */

/* A block device of this kernel name, by its node. */
static int put_device(struct search *search, const char *kind, const char *kernel_name)
{
    char path[PATH_MAX];
    char number[BLOCK_NAME];
    char name[BLOCK_NAME];
    struct holder holder = {.kind = kind, .path = path};
    struct dmi_device device;

    (void)snprintf(path, sizeof(path), "/sys/class/block/%s/dev", kernel_name);
    if (block_read_line(search->host, path, number, sizeof(number)) &&
        block_parse(number, &device)) {
        holder.has_device = true;
        holder.device = (struct device){device.major, device.minor};
        if (block_attribute(search->host, device, "dm/name", name)) {
            holder.name = name;
        }
    }
    (void)snprintf(path, sizeof(path), "/dev/%s", kernel_name);
    return holders_put(search->holders, search->arena, &holder);
}

static DIR *open_folder(const struct search *search, const char *path)
{
    char whole[PATH_MAX];

    (void)snprintf(whole, sizeof(whole), "%s%s", search->host->root, path);
    return opendir(whole);
}

/* Both are files from the device's folder in sysfs: the first is there for partitions alone. */
static void add_related(struct search *search, const char *partition, const char *number)
{
    char value[BLOCK_NAME];
    struct dmi_device device;

    if (search->count < RELATED_MAX &&
        block_attribute(search->host, search->devices[0], partition, value) &&
        block_attribute(search->host, search->devices[0], number, value) &&
        block_parse(value, &device)) {
        search->devices[search->count++] = device;
    }
}

static void find_related(struct search *search)
{
    char path[PATH_MAX];
    char partition[PATH_MAX];
    char number[PATH_MAX];

    add_related(search, "partition", "../dev");
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", search->devices[0].major,
                   search->devices[0].minor);
    DIR *folder = open_folder(search, path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            (void)snprintf(partition, sizeof(partition), "%s/partition", entry->d_name);
            (void)snprintf(number, sizeof(number), "%s/dev", entry->d_name);
            add_related(search, partition, number);
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
}

static bool is_related(const struct search *search, struct dmi_device device)
{
    bool found = false;

    for (size_t i = 0; i < search->count && !found; i++) {
        found = dmi_device_equal(search->devices[i], device);
    }
    return found;
}

static int add_stacked_on(struct search *search, struct dmi_device device)
{
    char path[PATH_MAX];
    int rc = 0;

    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", device.major, device.minor);
    DIR *folder = open_folder(search, path);
    for (const struct dirent *entry; rc == 0 && folder && (entry = readdir(folder));) {
        if (entry->d_name[0] != '.') {
            rc = put_device(search, "holder", entry->d_name);
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    return rc;
}

static int add_stacked(struct search *search)
{
    int rc = 0;

    for (size_t i = 0; i < search->count && rc == 0; i++) {
        rc = add_stacked_on(search, search->devices[i]);
    }
    return rc;
}

/*
 * A loop device over the node itself, which claims nothing but has it open; one over a file is
 * found as the file system's mount.
 */
static bool is_loop_over(const struct search *search, const char *kernel_name)
{
    char path[PATH_MAX];
    char backing[PATH_MAX];
    struct dmi_device device;

    (void)snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", kernel_name);
    return block_read_line(search->host, path, backing, sizeof(backing)) &&
           block_look(search->host, backing, &device) == 0 &&
           dmi_device_equal(device, search->devices[0]);
}

static int add_loops(struct search *search)
{
    DIR *folder = open_folder(search, "/sys/block");
    int rc = 0;

    for (const struct dirent *entry; rc == 0 && folder && (entry = readdir(folder));) {
        if (strncmp(entry->d_name, "loop", 4) == 0 && is_loop_over(search, entry->d_name)) {
            rc = put_device(search, "loop", entry->d_name);
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    return rc;
}

/* --- files with a line for each --- */

/* What procfs escapes as \040, in place. */
static char *unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        bool octal = from[0] == '\\' && isdigit((unsigned char)from[1]) &&
                     isdigit((unsigned char)from[2]) && isdigit((unsigned char)from[3]);
        if (octal) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return text;
}

static bool is_related_node(const struct search *search, const char *path)
{
    struct dmi_device device;

    return block_look(search->host, path, &device) == 0 && is_related(search, device);
}

/*
 * "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE OPTIONS". File systems over
 * several devices (btrfs) have a number of their own: there the source tells one of them.
 */
static int take_mount(struct search *search, char *line)
{
    char *fields[5] = {0};
    char *rest = line;
    struct dmi_device device;

    for (size_t i = 0; i < 5; i++) {
        fields[i] = strsep(&rest, " ");
    }
    char *tail = rest ? strstr(rest, " - ") : NULL;
    if (!fields[4] || !tail) {
        return 0;
    }
    tail += 3;
    (void)strsep(&tail, " ");
    char *source = tail ? unescape(strsep(&tail, " ")) : NULL;
    bool same = block_parse(fields[2], &device) && is_related(search, device);
    if (!same && !(source && is_related_node(search, source))) {
        return 0;
    }
    const struct holder holder = {.kind = "mount", .path = unescape(fields[4])};
    return holders_put(search->holders, search->arena, &holder);
}

/* "PATH TYPE SIZE USED PRIORITY"; the first line names the columns. */
static int take_swap(struct search *search, char *line)
{
    char *rest = line;
    char *path = unescape(strsep(&rest, " \t"));
    const struct holder holder = {.kind = "swap", .path = path};

    return is_related_node(search, path) ? holders_put(search->holders, search->arena, &holder) : 0;
}

static int add_lines(struct search *search, const char *path,
                     int (*take)(struct search *search, char *line))
{
    char whole[PATH_MAX];
    char *line = NULL;
    size_t size = 0;
    int rc = 0;

    (void)snprintf(whole, sizeof(whole), "%s%s", search->host->root, path);
    FILE *file = fopen(whole, "re");
    while (rc == 0 && file && getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        rc = take(search, line);
    }
    free(line);
    if (file) {
        (void)fclose(file);
    }
    return rc;
}

int holders_add(const struct block_host *host, struct dmi_device device, struct arena *arena,
                struct holders *holders)
{
    struct search search = {
        .host = host, .devices = {device}, .count = 1, .arena = arena, .holders = holders};

    find_related(&search);
    int rc = add_stacked(&search);

    if (rc == 0) {
        rc = add_lines(&search, "/proc/self/mountinfo", take_mount);
    }
    if (rc == 0) {
        rc = add_lines(&search, "/proc/swaps", take_swap);
    }
    return rc == 0 ? add_loops(&search) : rc;
}
