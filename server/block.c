/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the words that stand for block devices, and asks the host about them.
 */
#include "block.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "words.h"

/* What the kernel's dev_t holds: a number past it is refused there. */
enum { MAJOR_MAX = 0xfff, MINOR_MAX = 0xfffff };

bool block_parse(const char *text, struct dmi_device *ret_device)
{
    const char *colon = strchr(text, ':');

    return colon && words_number(text, colon, MAJOR_MAX, &ret_device->major) &&
           words_number(colon + 1, text + strlen(text), MINOR_MAX, &ret_device->minor);
}

bool block_is_path(const char *text)
{
    if (*text != '/' || strlen(text) >= PATH_MAX) {
        return false;
    }
    for (const char *at = strstr(text, "/.."); at; at = strstr(at + 1, "/..")) {
        if (!at[3] || at[3] == '/') {
            return false;
        }
    }
    return true;
}

int block_find(const struct block_host *host, const char *path, struct dmi_device *ret_device)
{
    return host->find(host, path, ret_device);
}

static int look_by_number(const struct block_host *host, struct dmi_device device)
{
    struct block_paths paths;

    host->paths(host, device, &paths);
    return paths.node[0] ? 0 : -ENODEV;
}

/* A file system elsewhere may be on a disk, and its server may be gone. */
int block_look(const struct block_host *host, const char *word, struct dmi_device *ret_device)
{
    if (block_parse(word, ret_device)) {
        return look_by_number(host, *ret_device);
    }
    if (strncmp(word, "/dev/", strlen("/dev/")) != 0 || !block_is_path(word)) {
        return -EXDEV;
    }
    return block_find(host, word, ret_device);
}

bool block_read_line(const struct block_host *host, const char *path, char *ret_line, size_t size)
{
    char whole[PATH_MAX];

    if (!host->root) {
        return false;
    }
    (void)snprintf(whole, sizeof(whole), "%s%s", host->root, path);
    int fd = open(whole, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t length = read(fd, ret_line, size - 1);
    (void)close(fd);
    if (length < 0) {
        return false;
    }
    ret_line[length] = '\0';
    ret_line[strcspn(ret_line, "\n")] = '\0';
    return true;
}

bool block_find_line(const struct block_host *host, const char *path, const char *key,
                     char *ret_rest, size_t size)
{
    char whole[PATH_MAX];
    char line[512];
    const size_t length = strlen(key);
    bool found = false;

    if (!host->root) {
        return false;
    }
    (void)snprintf(whole, sizeof(whole), "%s%s", host->root, path);
    FILE *file = fopen(whole, "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        found = strncmp(line, key, length) == 0;
    }
    if (file) {
        (void)fclose(file);
    }
    if (found) {
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(ret_rest, size, "%s", line + length);
    }
    return found;
}

bool block_attribute(const struct block_host *host, struct dmi_device device, const char *file,
                     char ret_value[BLOCK_NAME])
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", device.major, device.minor, file);
    return block_read_line(host, path, ret_value, BLOCK_NAME);
}
