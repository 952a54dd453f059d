/* SPDX-License-Identifier: Apache-2.0 */
/*
 * majors.c - reads the list of device drivers for device-mapper's block majors.
 * The list has character devices first, where the name may stand too. It must
 * not know where the text comes from.
 */
#include "majors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int majors_append(uint32_t major, uint32_t **majors, size_t *count)
{
    uint32_t *grown = realloc(*majors, (*count + 1) * sizeof(*grown));

    if (!grown) {
        return -ENOMEM;
    }
    grown[(*count)++] = major;
    *majors = grown;
    return 0;
}

/* "254 device-mapper\n", with blanks in front of the number. */
static bool majors_match(const char *line, uint32_t *ret_major)
{
    char *name;
    unsigned long major;

    errno = 0;
    major = strtoul(line, &name, 10);
    if (errno || name == line || major > UINT32_MAX || strcmp(name, " device-mapper\n") != 0) {
        return false;
    }
    *ret_major = (uint32_t)major;
    return true;
}

int majors_parse(FILE *devices, uint32_t **ret_majors, size_t *ret_count)
{
    char line[256];
    bool block = false;
    uint32_t *majors = NULL;
    size_t count = 0;
    uint32_t major;

    while (fgets(line, sizeof(line), devices)) {
        block = block || strcmp(line, "Block devices:\n") == 0;
        if (block && majors_match(line, &major) && majors_append(major, &majors, &count) < 0) {
            free(majors);
            return -ENOMEM;
        }
    }
    if (ferror(devices)) {
        free(majors);
        return -EIO;
    }
    *ret_majors = majors;
    *ret_count = count;
    return 0;
}
