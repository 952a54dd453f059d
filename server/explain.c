/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for the reason of a failure where the kernel leaves traces of it, and says what to do.
 * It changes nothing, and knows no method: only which ioctl failed, with what, and the params.
 */
#include "explain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "call.h"
#include "holders.h"
#include "kernel_log.h"
#include "named.h"
#include "secret.h"

enum {
    CAP_SYS_ADMIN_BIT = 21,
    LOOKS = 3,
    /* Devices of one table: each costs reads of files, and the device's next call waits. */
    WORDS_MAX = 32,
};

/* --- what is known --- */

/* Does the kernel's log say it? The first line that does, or NULL. */
static const char *find_said(const struct call *call, const char *words)
{
    const struct error_data *data = &call->failure.data;

    for (size_t i = 0; i < data->kernel_log_count; i++) {
        if (strstr(data->kernel_log[i], words)) {
            return data->kernel_log[i];
        }
    }
    return NULL;
}

static bool is_ioctl(const struct call *call, enum dmi_ioctl nr)
{
    const char *name = call->failure.data.ioctl;

    return name && strcmp(name, dmi_ioctl_name(nr)) == 0;
}

/* Has the log named the device, and so given the kernel's reason? */
static bool has_reason(const struct call *call)
{
    return find_said(call, ": table: ") != NULL;
}

__attribute__((format(printf, 2, 3))) static bool hint(struct call *call, const char *format, ...)
{
    struct failure *failure = &call->failure;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(failure->hint, sizeof(failure->hint), format, args);
    va_end(args);
    failure->data.hint = failure->hint;
    return true;
}

static const struct block_host *host_of(const struct call *call)
{
    return &call->host->block;
}

/* --- tables --- */

static size_t line_count(const struct call *call)
{
    return json_array_size(json_object_get(call->params_json, "targets"));
}

/* A line of the table in the params, from 0. */
static struct dmi_target line_at(const struct call *call, size_t i)
{
    const json_t *line = json_array_get(json_object_get(call->params_json, "targets"), i);

    return (struct dmi_target){
        .start = (uint64_t)json_integer_value(json_object_get(line, "start")),
        .length = (uint64_t)json_integer_value(json_object_get(line, "length")),
        .type = json_string_value(json_object_get(line, "type")),
        .params = json_string_value(json_object_get(line, "params")),
    };
}

/* Looks at one device that a line names, the number of which is from 1. True: it is what the
 * hint is about. */
typedef bool look_fn(struct call *call, size_t line, const char *word);

/* A search among the devices that a table names: many lines may name the same. */
struct look {
    struct call *call;
    look_fn *look;
    const char *words[WORDS_MAX]; /* that were looked at, in the call's arena */
    size_t count;
    bool ended; /* it was found, or it is enough */
};

static bool is_known(const struct look *look, const char *word)
{
    bool known = false;

    for (size_t i = 0; i < look->count && !known; i++) {
        known = strcmp(look->words[i], word) == 0;
    }
    return known;
}

/* True: it is what the hint is about. */
static bool look_at_word(struct look *look, size_t line, const char *word)
{
    if (is_known(look, word)) {
        return false;
    }
    const char *kept = arena_copy(&look->call->arena, word, strlen(word));
    bool found = look->look(look->call, line, word);
    if (kept) {
        look->words[look->count++] = kept;
    }
    look->ended = found || !kept || look->count == WORDS_MAX;
    return found;
}

static bool look_at_line(struct look *look, size_t i)
{
    const struct dmi_target line = line_at(look->call, i);
    struct named named;
    bool found = false;

    /* Of a line that is not understood, what was before. */
    (void)named_read(&line, 1, &named);
    for (size_t k = 0; k < named.count && !look->ended; k++) {
        found = look_at_word(look, i + 1, named.devices[k].text);
    }
    named_done(&named);
    return found;
}

static bool look_at_devices(struct call *call, look_fn *fn)
{
    struct look look = {.call = call, .look = fn};
    bool found = false;

    for (size_t i = 0; i < line_count(call) && !look.ended; i++) {
        found = look_at_line(&look, i);
    }
    return found;
}

static bool is_type_of(const struct dmi_target *line, const char *said)
{
    const char *end = strstr(said, ": unknown target type");
    size_t length = strlen(line->type);

    return end && length > 0 && end - said > (ptrdiff_t)length + 1 &&
           memcmp(end - length, line->type, length) == 0 && end[-(ptrdiff_t)length - 1] == ' ';
}

static bool explain_type(struct call *call)
{
    const char *said = find_said(call, ": unknown target type");

    for (size_t i = 0; said && i < line_count(call); i++) {
        const struct dmi_target line = line_at(call, i);
        if (is_type_of(&line, said)) {
            return hint(call,
                        "line %zu: the kernel has no target type '%s' and found no module for it: "
                        "correct the name, or install and load the module (modprobe dm-%s)",
                        i + 1, line.type, line.type);
        }
    }
    return false;
}

/* The kernel looks at a line's type and device after its place; its verdict counts. */
static bool explain_gap(struct call *call)
{
    uint64_t end = 0;

    if (call->failure.data.errnum != EINVAL ||
        (has_reason(call) && !find_said(call, "Gap in table"))) {
        return false;
    }
    for (size_t i = 0; i < line_count(call); i++) {
        const struct dmi_target line = line_at(call, i);
        if (line.start != end && i == 0) {
            return hint(call, "line 1 must start at sector 0, and not at %llu",
                        (unsigned long long)line.start);
        }
        if (line.start != end) {
            return hint(call,
                        "line %zu must start at sector %llu, where line %zu ends, and not at %llu",
                        i + 1, (unsigned long long)end, i, (unsigned long long)line.start);
        }
        end += line.length;
    }
    return false;
}

/* `words` and a number at `*at`, which is moved past them. */
static bool take_number(const char **at, const char *words, unsigned long long *ret_number)
{
    size_t length = strlen(words);
    char *end;

    if (strncmp(*at, words, length) != 0) {
        return false;
    }
    *ret_number = strtoull(*at + length, &end, 10);
    *at = end;
    return true;
}

/* "device-mapper: table: 254:3: loop0 too small for target: start=0, len=99999, dev_size=8192" */
static bool explain_size(struct call *call)
{
    static const char words[] = " too small for target: start=";
    const char *said = find_said(call, words);
    unsigned long long start;
    unsigned long long length;
    unsigned long long size;

    if (!said) {
        return false;
    }
    const char *end = strstr(said, words);
    const char *name = end;
    while (name > said && name[-1] != ' ') {
        name--;
    }
    const char *at = end + sizeof(words) - 1;
    if (!take_number(&at, "", &start) || !take_number(&at, ", len=", &length) ||
        !take_number(&at, ", dev_size=", &size)) {
        return false;
    }
    return hint(
        call,
        "%.*s has %llu sectors, and the table wants %llu to %llu of it: shorten the line, or "
        "grow the device",
        (int)(end - name), name, size, start, start + length - 1);
}

static bool is_missing(struct call *call, size_t line, const char *word)
{
    struct dmi_device device;
    int rc = block_look(host_of(call), word, &device);

    return (rc == -ENOENT || rc == -ENOTDIR || rc == -ENOTBLK || rc == -ENODEV) &&
           hint(call, "line %zu: there is no block device %s", line, word);
}

static bool is_read_only(struct call *call, size_t line, const char *word)
{
    struct dmi_device device;
    char value[BLOCK_NAME];

    return block_look(host_of(call), word, &device) == 0 &&
           block_attribute(host_of(call), device, "ro", value) && strcmp(value, "1") == 0 &&
           hint(call,
                "line %zu: %s is read-only: pass DM_READONLY, or make it writable (blockdev "
                "--setrw)",
                line, word);
}

/* "umount /mnt", "remove device 'x'": how to get rid of a holder. */
static void tell_way_out(const struct holder *holder, char *to, size_t size)
{
    if (strcmp(holder->kind, "mount") == 0) {
        (void)snprintf(to, size, "it is mounted: umount %s", holder->path);
    } else if (strcmp(holder->kind, "swap") == 0) {
        (void)snprintf(to, size, "it is a swap area: swapoff %s", holder->path);
    } else if (strcmp(holder->kind, "loop") == 0) {
        (void)snprintf(to, size, "%s is a loop device over it: losetup -d %s", holder->path,
                       holder->path);
    } else if (holder->name) {
        (void)snprintf(to, size, "device '%s' is stacked on it: remove that first", holder->name);
    } else {
        (void)snprintf(to, size, "%s is stacked on it: stop that first", holder->path);
    }
}

/* What a device is called is told to who may see it by the call's method. */
static bool is_seen(struct call *call, const struct holder *holder)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE,
                              .device = {holder->device.major, holder->device.minor}};
    struct dmi_info info;

    return holder->has_device && dmi_device_status(&call->dm, &id, 0, &info) == 0 &&
           access_sees(call->rules, &call->peer, call->method, info.name, info.uuid);
}

static void add_holders(struct call *call, struct dmi_device device, struct holders *holders)
{
    (void)host_of(call)->add_holders(host_of(call), device, &call->arena, holders);
    for (size_t i = 0; i < holders->count; i++) {
        struct holder *holder = &holders->items[i];
        if (holder->name && !is_seen(call, holder)) {
            holder->name = NULL;
        }
    }
}

static void show_holders(struct call *call, const struct holders *holders)
{
    call->failure.data.holders = holders->items;
    call->failure.data.holders_count = holders->count;
}

static bool is_held(struct call *call, size_t line, const char *word)
{
    struct dmi_device device;
    struct holders holders = {0};
    char way[256];

    if (block_look(host_of(call), word, &device) < 0) {
        return false;
    }
    add_holders(call, device, &holders);
    if (holders.count == 0) {
        return false;
    }
    show_holders(call, &holders);
    tell_way_out(&holders.items[0], way, sizeof(way));
    return hint(call, "line %zu: %s is in use; %s", line, word, way);
}

/* What failure.c has to say of these is more than that the log tells of a line. */
static bool is_told(int errnum)
{
    return errnum == ENOMEM || errnum == EBUSY || errnum == EACCES || errnum == EROFS;
}

static void explain_table(struct call *call)
{
    const int errnum = (int)call->failure.data.errnum;
    bool found = explain_type(call) || explain_gap(call) || explain_size(call);

    if (!found && errnum == EBUSY) {
        found = look_at_devices(call, is_held);
    }
    if (!found && (errnum == EACCES || errnum == EROFS)) {
        found = look_at_devices(call, is_read_only);
    }
    if (!found && (errnum == ENODEV || errnum == ENXIO || errnum == ENOENT ||
                   find_said(call, "lookup failed"))) {
        found = look_at_devices(call, is_missing);
    }
    if (!found && has_reason(call) && !is_told(errnum)) {
        (void)hint(call, "kernel_log has the kernel's reason: correct that line of the table");
    }
}

/* A swap: that the new table fits is found out late. What to do about a suspended device comes
 * first. */
static void explain_resume(struct call *call)
{
    const char *state = call->failure.data.state;

    if (!state || !strstr(state, "SUSPENDED")) {
        (void)explain_size(call);
    }
}

/* --- a device that is in use --- */

static bool is_udev_busy(const struct call *call)
{
    char line[8];

    /* Empty, and there only while udev handles events. */
    return block_read_line(host_of(call), "/run/udev/queue", line, sizeof(line));
}

/* Nobody is shown: a process, somebody who is gone by now, or udev, which looks and closes. */
static void explain_opened(struct call *call)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = call->device};
    struct dmi_info info;

    if (dmi_device_status(&call->dm, &id, 0, &info) == 0 && info.open_count == 0) {
        (void)hint(call,
                   "it has been closed meanwhile: try again; with `retry` and `timeout_ms` the "
                   "call waits for that by itself");
    } else if (is_udev_busy(call)) {
        (void)hint(call, "udev is at work and opens devices for a moment: pass `retry` with "
                         "`timeout_ms`, or wait with udevadm settle");
    } else {
        (void)hint(
            call,
            "a process has it open: fuser -v /dev/dm-%u names it; or it is mounted in another "
            "mount namespace. End that, pass `retry` with `timeout_ms`, or DM_DEFERRED_REMOVE",
            call->device.minor);
    }
}

static void explain_busy(struct call *call)
{
    struct holders holders = {0};
    char way[256];

    if (!call->has_device) {
        return;
    }
    add_holders(call, call->device, &holders);
    if (holders.count == 0) {
        explain_opened(call);
        return;
    }
    show_holders(call, &holders);
    tell_way_out(&holders.items[0], way, sizeof(way));
    (void)hint(call, "%s; or pass DM_DEFERRED_REMOVE, and it goes when the last user has closed it",
               way);
}

/* --- a name that is taken --- */

static bool tell_owner(struct call *call, const char *what, const struct dmi_id *id)
{
    struct dmi_info info;

    if (dmi_device_status(&call->dm, id, 0, &info) < 0) {
        return false;
    }
    return hint(call,
                "the %s is that of device '%s' (%u:%u): use that device, or choose another %s",
                what, info.name, info.device.major, info.device.minor, what);
}

static void explain_taken(struct call *call)
{
    static const char *const names[] = {"new_name", "name"};
    bool renames = json_object_get(call->params_json, "new_name") != NULL;
    const char *name = json_string_value(json_object_get(call->params_json, names[!renames]));
    const char *uuid = json_string_value(json_object_get(call->params_json, "uuid"));
    bool creates = is_ioctl(call, DMI_DEV_CREATE);
    const struct dmi_id by_name = {.kind = DMI_BY_NAME, .name = name};
    const struct dmi_id by_uuid = {.kind = DMI_BY_UUID, .uuid = uuid};

    /* A new uuid is given to the device of that name. */
    if (name && (creates || renames) && tell_owner(call, "name", &by_name)) {
        return;
    }
    if (uuid) {
        (void)tell_owner(call, "uuid", &by_uuid);
    }
}

/* --- what this process may --- */

/* Where nothing is known of it, it is none that is missing. */
static bool has_capability(const struct block_host *host, int bit)
{
    char set[32];

    return !block_find_line(host, "/proc/self/status", "CapEff:", set, sizeof(set)) ||
           strtoull(set, NULL, 16) >> bit & 1;
}

/* Ids of the initial user namespace are mapped one to one, all of them. */
static bool in_user_namespace(const struct block_host *host)
{
    char line[128];
    char *at;

    if (!block_read_line(host, "/proc/self/uid_map", line, sizeof(line))) {
        return false;
    }
    unsigned long long inside = strtoull(line, &at, 10);
    unsigned long long outside = strtoull(at, &at, 10);
    unsigned long long count = strtoull(at, &at, 10);
    return count > 0 && !(inside == 0 && outside == 0 && count == 4294967295ULL);
}

const char *explain_permission(const struct block_host *host)
{
    if (in_user_namespace(host)) {
        return "dmrpcd is in a user namespace of its own (a rootless container), where "
               "device-mapper is never permitted: run it on the host";
    }
    if (!has_capability(host, CAP_SYS_ADMIN_BIT)) {
        return "dmrpcd lacks CAP_SYS_ADMIN: run it as root, or give it that capability "
               "(AmbientCapabilities=CAP_SYS_ADMIN in its unit, --cap-add SYS_ADMIN for a "
               "container)";
    }
    return "the container's device rules or a security module forbid it: allow "
           "/dev/mapper/control, and look for AppArmor or SELinux in the kernel's log";
}

/* --- all of it --- */

struct explanation {
    enum dmi_ioctl ioctl;
    int errnum; /* 0: any */
    void (*explain)(struct call *call);
};

static const struct explanation explanations[] = {
    {DMI_TABLE_LOAD, 0, explain_table},     {DMI_DEV_SUSPEND, EINVAL, explain_resume},
    {DMI_DEV_REMOVE, EBUSY, explain_busy},  {DMI_DEV_CREATE, EBUSY, explain_taken},
    {DMI_DEV_RENAME, EBUSY, explain_taken},
};

static void explain_cause(struct call *call)
{
    const struct error_data *data = &call->failure.data;

    if (call->failure.id == ERROR_PERMISSION_DENIED && data->has_errnum && host_of(call)->root) {
        call->failure.data.hint = explain_permission(host_of(call));
        return;
    }
    for (size_t i = 0; i < sizeof(explanations) / sizeof(explanations[0]); i++) {
        const struct explanation *each = &explanations[i];
        if (is_ioctl(call, each->ioctl) &&
            (each->errnum == 0 || (int)data->errnum == each->errnum)) {
            each->explain(call);
            return;
        }
    }
}

/* The kernel may repeat a word of what it refused. */
static void hide_keys(const struct call *call, char text[KERNEL_LOG_LINE])
{
    const char *message = json_string_value(json_object_get(call->params_json, "message"));

    for (size_t i = 0; i < line_count(call); i++) {
        const struct dmi_target line = line_at(call, i);
        secret_hide_in(text, KERNEL_LOG_LINE, line.type, line.params);
    }
    if (message) {
        secret_hide_message_in(text, KERNEL_LOG_LINE, message);
    }
}

static void collect_lines(struct call *call)
{
    struct kernel_log_lines lines;
    struct error_data *data = &call->failure.data;

    kernel_log_collect(call->host->kernel_log, &call->log_mark,
                       call->has_device ? &call->device : NULL, &call->arena, &lines);
    for (size_t i = 0; i < lines.count; i++) {
        hide_keys(call, lines.lines[i]);
    }
    data->kernel_log = (const char *const *)lines.lines;
    data->kernel_log_count = lines.count;
    data->kernel_log_lost = data->has_kernel_log_lost = lines.lost;
}

/*
 * The kernel stores a line before the ioctl returns, but nobody can read it while another
 * processor is about to store one before it. Of a refused load there always is one.
 */
static void take_lines(struct call *call)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    collect_lines(call);
    for (int i = 0;
         i < LOOKS && call->log_mark.open && is_ioctl(call, DMI_TABLE_LOAD) && !has_reason(call);
         i++) {
        (void)nanosleep(&moment, NULL);
        collect_lines(call);
    }
}

/* Reads do not make the kernel say anything, and may be many. */
static bool changes_something(const struct call *call)
{
    return call->method->place == PLACE_WORKER && call->method->effect != EFFECT_READ;
}

void explain_begin(struct call *call)
{
    if (changes_something(call)) {
        kernel_log_begin(call->host->kernel_log, &call->log_mark);
    }
}

void explain_end(struct call *call)
{
    bool failed = call->failure.id != ERROR_NONE && call->again_ms == 0;

    if (failed && call->failure.data.has_errnum) {
        take_lines(call);
        explain_cause(call);
    } else if (failed && call->log_mark.open) {
        take_lines(call);
    }
    kernel_log_end(call->host->kernel_log, &call->log_mark);
}
