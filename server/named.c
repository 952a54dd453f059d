/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads table lines as the kernel's constructors do, as far as devices go. Pure: no device is
 * looked for.
 */
#include "named.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "block.h"
#include "words.h"

/* The words of one line. */
struct line {
    char **words;
    size_t count;
};

/* A reading of lines that is under way. */
struct reading {
    struct named *named;
    size_t room;
    size_t line; /* its number */
    bool no_memory;
};

/* --- words --- */

/* False: there is no memory. */
static bool split(struct arena *arena, const char *params, struct line *ret_line)
{
    size_t length = strlen(params);
    char *out = arena_alloc(arena, length + 2, 1);
    char **words = arena_alloc(arena, length / 2 + 1, sizeof(*words));
    size_t count = 0;
    struct word word;

    if (!out || !words) {
        return false;
    }
    while (words_next(&params, &word)) {
        words[count++] = out;
        while (word.length > 0) {
            *out++ = words_take(&word);
        }
        *out++ = '\0';
    }
    *ret_line = (struct line){.words = words, .count = count};
    return true;
}

/* --- what the types take --- */

__attribute__((format(printf, 2, 3))) static bool refuse(struct reading *reading,
                                                         const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(reading->named->reason, sizeof(reading->named->reason), format, args);
    va_end(args);
    reading->named->bad_line = reading->line;
    return false;
}

static bool too_short(struct reading *reading)
{
    return refuse(reading, "it has too few words, or a number in it is none");
}

static bool add(struct reading *reading, const struct named_device *device)
{
    struct named *named = reading->named;

    if (named->count == reading->room) {
        size_t room = reading->room > 0 ? reading->room * 2 : 16;
        struct named_device *devices = arena_alloc(&named->arena, room, sizeof(*devices));
        if (!devices) {
            reading->no_memory = true;
            return false;
        }
        if (named->count > 0) {
            memcpy(devices, named->devices, named->count * sizeof(*devices));
        }
        named->devices = devices;
        reading->room = room;
    }
    named->devices[named->count++] = *device;
    return true;
}

/* A word that the constructor takes for a device. */
static bool take_text(struct reading *reading, const char *text)
{
    struct named_device device = {.line = reading->line, .text = text};

    device.is_number = block_parse(text, &device.device);
    if (!device.is_number && !block_is_path(text)) {
        return refuse(reading, "what stands for a device in it is neither an absolute path "
                               "without .. nor major:minor");
    }
    return add(reading, &device);
}

static bool take(struct reading *reading, const struct line *line, size_t at)
{
    return at < line->count ? take_text(reading, line->words[at]) : too_short(reading);
}

static bool number_at(const struct line *line, size_t at, uint32_t *ret_number)
{
    const char *word = at < line->count ? line->words[at] : "";

    return words_number(word, word + strlen(word), INT32_MAX, ret_number);
}

/* DEVICE OFFSET, `count` times and nothing behind. */
static bool take_pairs(struct reading *reading, const struct line *line, size_t at, size_t count)
{
    if (line->count - at != count * 2) {
        return too_short(reading);
    }
    bool taken = true;
    for (size_t i = 0; taken && i < count; i++) {
        taken = take(reading, line, at + i * 2);
    }
    return taken;
}

/* #STRIPES CHUNK then pairs. */
static bool take_striped(struct reading *reading, const struct line *line)
{
    uint32_t count;

    if (line->count < 2 || !number_at(line, 0, &count)) {
        return too_short(reading);
    }
    return take_pairs(reading, line, 2, count);
}

/* #PATHS REGION #OPTIONS, of which there are none yet, then pairs. */
static bool take_switch(struct reading *reading, const struct line *line)
{
    uint32_t count;
    uint32_t options;

    if (!number_at(line, 0, &count) || !number_at(line, 2, &options) || options > 0) {
        return too_short(reading);
    }
    return take_pairs(reading, line, 3, count);
}

static bool take_all(struct reading *reading, const struct line *line)
{
    bool taken = line->count > 0 || too_short(reading);

    for (size_t i = 0; taken && i < line->count; i++) {
        taken = take(reading, line, i);
    }
    return taken;
}

/* VERSION DATA HASH and seven more, then options: after a name, which has any case, a device. */
static bool take_verity(struct reading *reading, const struct line *line)
{
    bool taken = take(reading, line, 1) && take(reading, line, 2);

    for (size_t i = 10; taken && i < line->count; i++) {
        if (strcasecmp(line->words[i], "use_fec_from_device") == 0) {
            taken = take(reading, line, i + 1);
        }
    }
    return taken;
}

/* DEVICE RESERVED TAG MODE #OPTIONS, then options. */
static bool take_integrity(struct reading *reading, const struct line *line)
{
    static const char option[] = "meta_device:";
    bool taken = take(reading, line, 0);

    for (size_t i = 5; taken && i < line->count; i++) {
        if (strncmp(line->words[i], option, sizeof(option) - 1) == 0) {
            taken = take_text(reading, line->words[i] + sizeof(option) - 1);
        }
    }
    return taken;
}

/* LOG #ARGS ..., of a log on a disk first that disk; then #MIRRORS, pairs, and features. */
static bool take_mirror(struct reading *reading, const struct line *line)
{
    uint32_t args;
    uint32_t mirrors;

    if (!number_at(line, 1, &args) || args == 0 || !number_at(line, 2 + (size_t)args, &mirrors) ||
        line->count - 3 - args < (size_t)mirrors * 2) {
        return too_short(reading);
    }
    bool on_disk = strcmp(line->words[0], "disk") == 0;
    if (!on_disk && strcmp(line->words[0], "core") != 0) {
        return refuse(reading, "its log is of a kind that is not known");
    }
    bool taken = !on_disk || take(reading, line, 2);
    for (size_t i = 0; taken && i < mirrors; i++) {
        taken = take(reading, line, 3 + (size_t)args + i * 2);
    }
    return taken;
}

/* KIND #PARAMS ..., #DEVICES, and METADATA DATA so many times, where - is none. */
static bool take_raid(struct reading *reading, const struct line *line)
{
    uint32_t params;
    uint32_t devices;

    if (!number_at(line, 1, &params) || !number_at(line, 2 + (size_t)params, &devices) ||
        line->count - 3 - params != (size_t)devices * 2) {
        return too_short(reading);
    }
    size_t end = 2 + (size_t)params;
    bool taken = true;
    for (size_t i = 2; taken && i + 1 < end; i++) {
        if (strcasecmp(line->words[i], "journal_dev") == 0) {
            taken = take(reading, line, i + 1);
        }
    }
    for (size_t i = end + 1; taken && i < line->count; i++) {
        taken = strcmp(line->words[i], "-") == 0 || take(reading, line, i);
    }
    return taken;
}

/* Skips #WORDS and so many words. */
static bool skip_group(const struct line *line, size_t *at)
{
    uint32_t count;

    if (!number_at(line, *at, &count) || line->count - *at - 1 < count) {
        return false;
    }
    *at += 1 + (size_t)count;
    return true;
}

/* SELECTOR #ARGS ..., #PATHS #PATH_ARGS, and DEVICE with its args so many times. */
static bool take_path_group(struct reading *reading, const struct line *line, size_t *at)
{
    uint32_t paths;
    uint32_t args;

    ++*at; /* the selector's name */
    if (!skip_group(line, at) || !number_at(line, *at, &paths) || paths == 0 ||
        !number_at(line, *at + 1, &args) ||
        line->count - *at - 2 < (size_t)paths * (1 + (size_t)args)) {
        return too_short(reading);
    }
    *at += 2;
    bool taken = true;
    for (; taken && paths > 0; paths--) {
        taken = take(reading, line, *at);
        *at += 1 + (size_t)args;
    }
    return taken;
}

/* #FEATURES ..., #HANDLER ..., #GROUPS, the first of them, and groups as far as the line goes. */
static bool take_multipath(struct reading *reading, const struct line *line)
{
    size_t at = 0;
    uint32_t groups;
    uint32_t first;

    if (!skip_group(line, &at) || !skip_group(line, &at) || !number_at(line, at, &groups) ||
        !number_at(line, at + 1, &first)) {
        return too_short(reading);
    }
    at += 2;
    while (at < line->count) {
        if (!take_path_group(reading, line, &at)) {
            return false;
        }
    }
    return true;
}

/* V4 DEVICE ...; lines of earlier versions were never those of a kernel. */
static bool take_vdo(struct reading *reading, const struct line *line)
{
    if (line->count == 0 || strcmp(line->words[0], "V4") != 0) {
        return refuse(reading, "its line is of a version that is not known");
    }
    return take(reading, line, 1);
}

/* Where a constructor takes devices: fixed places (bits), those only if the line is so long, ... */
struct target_row {
    const char *type;
    uint32_t places, optional;
    bool (*find)(struct reading *reading, const struct line *line); /* ... or by hand */
};

#define AT(i) (UINT32_C(1) << (i))
enum { PLACES = 8 };

static const struct target_row target_rows[] = {
    {.type = "cache", .places = AT(0) | AT(1) | AT(2)}, /* metadata, cache, origin */
    {.type = "clone", .places = AT(0) | AT(1) | AT(2)}, /* metadata, destination, source */
    {.type = "crypt", .places = AT(3)},
    {.type = "delay", .places = AT(0), .optional = AT(3) | AT(6)}, /* of reads, writes, flushes */
    {.type = "dust", .places = AT(0)},
    {.type = "ebs", .places = AT(0)},
    {.type = "era", .places = AT(0) | AT(1)}, /* metadata, origin */
    {.type = "error", .optional = AT(0)},     /* since Linux 6.6, for its limits */
    {.type = "flakey", .places = AT(0)},
    {.type = "integrity", .find = take_integrity},
    {.type = "linear", .places = AT(0)},
    {.type = "log-writes", .places = AT(0) | AT(1)},
    {.type = "mirror", .find = take_mirror},
    {.type = "multipath", .find = take_multipath},
    {.type = "raid", .find = take_raid},
    {.type = "snapshot", .places = AT(0) | AT(1)}, /* origin, store */
    {.type = "snapshot-merge", .places = AT(0) | AT(1)},
    {.type = "snapshot-origin", .places = AT(0)},
    {.type = "striped", .find = take_striped},
    {.type = "switch", .find = take_switch},
    {.type = "thin", .places = AT(0), .optional = AT(2)}, /* pool, external origin */
    {.type = "thin-pool", .places = AT(0) | AT(1)},       /* metadata, data */
    {.type = "unstriped", .places = AT(3)},
    {.type = "vdo", .find = take_vdo},
    {.type = "verity", .find = take_verity},
    {.type = "writecache", .places = AT(1) | AT(2)}, /* origin, cache */
    {.type = "zero"},
    {.type = "zoned", .find = take_all},
};

static const struct target_row *find_row(const char *type)
{
    for (size_t i = 0; i < sizeof(target_rows) / sizeof(target_rows[0]); i++) {
        if (strcmp(target_rows[i].type, type) == 0) {
            return &target_rows[i];
        }
    }
    return NULL;
}

static bool take_places(struct reading *reading, const struct target_row *row,
                        const struct line *line)
{
    bool taken = true;

    for (size_t i = 0; taken && i < PLACES; i++) {
        bool optional = row->optional & AT(i) && i < line->count;
        taken = !(row->places & AT(i) || optional) || take(reading, line, i);
    }
    return taken;
}

static bool read_line(struct reading *reading, const struct dmi_target *target)
{
    const struct target_row *row = find_row(target->type);
    struct line line;

    if (!row) {
        return refuse(reading, "its type is none whose devices dmrpcd can tell");
    }
    if (!split(&reading->named->arena, target->params, &line)) {
        reading->no_memory = true;
        return false;
    }
    return row->find ? row->find(reading, &line) : take_places(reading, row, &line);
}

int named_read(const struct dmi_target *targets, size_t count, struct named *ret_named)
{
    struct reading reading = {.named = ret_named};
    bool whole = true;

    *ret_named = (struct named){0};
    for (; whole && reading.line < count; reading.line++) {
        whole = read_line(&reading, &targets[reading.line]);
    }
    if (whole) {
        return 0;
    }
    return reading.no_memory ? -ENOMEM : -EINVAL;
}

void named_done(struct named *named)
{
    arena_done(&named->arena);
    *named = (struct named){0};
}
