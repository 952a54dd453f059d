/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes records of the audit, and prints them. The upper half is the loop's: it notes and
 * hands over. The lower half is the log thread's, which may block: it asks for the unit of a
 * process and speaks to journald. They share nothing but the records.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "audit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-journal.h>
#include <systemd/sd-login.h>
#include <time.h>
#include <unistd.h>

#include "dispatch.h"
#include "encode.h"
#include "text.h"

enum { VERSION = 1, PRIORITY_INFO = 6, PRIORITY_NOTICE = 5, PRIORITY_WARNING = 4 };

static const char JOURNAL_SOCKET[] = "/run/systemd/journal/socket";

/* What goes to the log's thread. Strings that are no arrays live as long as the program. */
struct entry {
    bool is_hint; /* only `peer` counts: its unit will be wanted */
    struct timespec time;
    uint64_t seq;
    const char *kind, *outcome;
    struct audit_peer peer;
    bool has_peer, has_gid, has_device;
    uid_t uid;
    gid_t gid;
    uint64_t call, by; /* 0: none */
    const struct method *method;
    struct dmi_device device;
    struct audit_subject subject;
    const char *error, *errno_name, *ioctl, *reason;
    char text[256]; /* state, or detail */
    bool has_duration;
    uint64_t duration_us;
};
_Static_assert(sizeof(struct entry) <= LOG_RECORD_BYTES, "a record fits a slot of the log");

/* --- noting --- */

/* Cut between characters: half of one would be shown as something else. */
static void copy(char *to, size_t size, const char *from)
{
    size_t length = from ? strnlen(from, size) : 0;

    if (length == size) {
        length--;
        while (length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    memcpy(to, from ? from : "", length);
    to[length] = '\0';
}

static const char *param(const struct call *call, const char *name)
{
    return json_string_value(json_object_get(call->params_json, name));
}

static uint32_t flags_of(const json_t *array)
{
    uint32_t flags = 0;

    for (size_t i = 0; i < json_array_size(array) && i < flag_count; i++) {
        const char *name = json_string_value(json_array_get(array, i));
        for (size_t f = 0; name && f < flag_count; f++) {
            flags |= strcmp(name, flag_table[f].name) == 0 ? flag_table[f].bit : 0;
        }
    }
    return flags;
}

static size_t slot_of(const struct audit_peer *peer)
{
    return (size_t)(peer->connection + (uint64_t)peer->pid) % AUDIT_PEERS;
}

static bool is_peer(const struct audit_peer *one, const struct audit_peer *other)
{
    return one->pid == other->pid && one->connection == other->connection;
}

/* Now, since the process may be gone when the call has ended; once for each connection. */
static void ask_unit(struct dispatcher *dispatcher, const struct peer *who)
{
    const struct audit_peer peer = {.pid = who->pid, .connection = who->connection};
    struct audit_peer *told = &dispatcher->audit.told[slot_of(&peer)];
    struct entry hint = {.is_hint = true, .peer = peer};

    if (peer.connection == 0 || !is_peer(told, &peer)) {
        *told = peer;
        log_hint(&hint, sizeof(hint));
    }
}

void audit_begun(struct call *call)
{
    struct audit_subject *subject = &call->audit;
    const char *name = param(call, "name");
    const char *uuid = param(call, "uuid");

    copy(subject->name, sizeof(subject->name), name);
    if (name) { /* a device is named by one of them: the other one is given to it */
        copy(subject->new_uuid, sizeof(subject->new_uuid), uuid);
    } else {
        copy(subject->uuid, sizeof(subject->uuid), uuid);
    }
    copy(subject->new_name, sizeof(subject->new_name), param(call, "new_name"));
    subject->flags = flags_of(json_object_get(call->params_json, "flags"));
    ask_unit(call->dispatcher, &call->peer);
}

static void add_type(struct audit_subject *subject, const char *type)
{
    for (size_t i = 0; i < subject->types_count; i++) {
        if (strcmp(subject->types[i], type) == 0) {
            return;
        }
    }
    if (subject->types_count < AUDIT_TYPES) {
        copy(subject->types[subject->types_count++], sizeof(subject->types[0]), type);
    }
}

/* What is no plain word could be anything, a key even. */
static void note_word(struct audit_subject *subject, const char *message)
{
    size_t length = message ? strspn(message, "abcdefghijklmnopqrstuvwxyz_@") : 0;

    if (length > 0 && length <= AUDIT_WORD_MAX &&
        (message[length] == '\0' || message[length] == ' ')) {
        memcpy(subject->word, message, length);
        subject->word[length] = '\0';
    }
}

void audit_decoded(struct call *call)
{
    const json_t *targets = json_object_get(call->params_json, "targets");
    struct audit_subject *subject = &call->audit;

    if (call->method->effect == EFFECT_READ) {
        return;
    }
    subject->target_count = json_array_size(targets);
    for (size_t i = 0; i < subject->target_count; i++) {
        add_type(subject, json_string_value(json_object_get(json_array_get(targets, i), "type")));
    }
    note_word(subject, param(call, "message"));
}

void audit_found(struct call *call, const struct dmi_info *info)
{
    memcpy(call->audit.name, info->name, sizeof(call->audit.name));
    memcpy(call->audit.uuid, info->uuid, sizeof(call->audit.uuid));
}

/* --- making records --- */

static void hand_over(struct dispatcher *dispatcher, struct entry *entry)
{
    entry->seq = ++dispatcher->audit.last_seq;
    (void)clock_gettime(CLOCK_REALTIME, &entry->time);
    dispatcher->counters.stats.audit_records++;
    log_record(entry, sizeof(*entry));
}

static void note_failure(struct entry *entry, const struct failure *failure)
{
    if (failure->id == ERROR_NONE) {
        return;
    }
    entry->error = error_table[failure->id].name;
    entry->errno_name = failure->data.errno_name;
    entry->ioctl = failure->data.ioctl;
    copy(entry->text, sizeof(entry->text), failure->data.state);
}

static void note_peer(struct entry *entry, const struct peer *peer)
{
    entry->peer = (struct audit_peer){.pid = peer->pid, .connection = peer->connection};
    entry->has_peer = entry->has_gid = true;
    entry->uid = peer->uid;
    entry->gid = peer->gid;
}

static void record_call(struct call *call, const struct failure *failure, const char *kind,
                        const char *outcome)
{
    struct entry entry = {
        .kind = kind,
        .outcome = outcome,
        .call = call->number,
        .by = atomic_load(&call->life.by),
        .method = call->method,
        .has_device = call->has_device,
        .device = call->device,
        .subject = call->audit,
        .has_duration = true,
        .duration_us = (stats_clock() - call->life.came) / 1000,
    };

    note_peer(&entry, &call->peer);
    note_failure(&entry, failure);
    hand_over(call->dispatcher, &entry);
}

/* By access; the kernel's refusals have an errno. */
static bool is_refused(const struct failure *failure)
{
    return failure->id == ERROR_PERMISSION_DENIED && !failure->data.has_errnum;
}

/* A device that was made had no number before. */
static void note_device(struct call *call)
{
    if (!call->has_device && call->info.name[0]) {
        call->device = call->info.device;
        call->has_device = true;
    }
}

void audit_ended(struct call *call, const struct failure *failure)
{
    const char *outcome = "failed";

    if (!call->method || failure->id == ERROR_METHOD_NOT_FOUND ||
        (call->method->effect == EFFECT_READ && !is_refused(failure))) {
        return;
    }
    if (call->life.given_up) {
        outcome = "given_up";
    } else if (is_refused(failure)) {
        outcome = "refused";
        if (call->method->effect == EFFECT_READ) { /* of those only refusals are recorded */
            audit_begun(call);
        }
    } else if (failure->id == ERROR_NONE || call->carried_out) {
        outcome = "ok";
        note_device(call);
    }
    record_call(call, failure, "call", outcome);
}

void audit_refused(struct dispatcher *dispatcher, const struct peer *peer, const char *method)
{
    struct entry entry = {
        .kind = "call",
        .outcome = "refused",
        .method = method_find(method),
        .error = error_table[ERROR_PERMISSION_DENIED].name,
    };

    ask_unit(dispatcher, peer);
    note_peer(&entry, peer);
    hand_over(dispatcher, &entry);
}

void audit_ended_late(struct call *call)
{
    if (call->method->effect != EFFECT_READ) {
        note_device(call);
        record_call(call, &call->failure, "call_ended", call->carried_out ? "ok" : "failed");
    }
}

void audit_lease_ended(struct dispatcher *dispatcher, const struct audit_lease *lease)
{
    struct entry entry = {
        .kind = "lease_ended",
        .outcome = lease->outcome,
        .peer = {.pid = lease->pid, .connection = lease->connection},
        .has_peer = true,
        .uid = lease->uid,
        .has_device = true,
        .device = lease->device,
        .errno_name = lease->rc < 0 ? strerrorname_np(-lease->rc) : NULL,
        .ioctl = lease->ioctl,
        .reason = lease->reason,
        .has_duration = true,
        .duration_us = lease->held_ns / 1000,
    };

    copy(entry.subject.name, sizeof(entry.subject.name), lease->name);
    copy(entry.subject.uuid, sizeof(entry.subject.uuid), lease->uuid);
    hand_over(dispatcher, &entry);
}

void audit_server(struct dispatcher *dispatcher, const char *kind, const char *outcome,
                  const char *detail)
{
    struct entry entry = {.kind = kind, .outcome = outcome};

    copy(entry.text, sizeof(entry.text), detail);
    hand_over(dispatcher, &entry);
}

/* --- the log's thread: the unit of a process --- */

/* The unit that an entry of sink->units has for `peer`; NULL: it has another one. */
static const char *known_unit(const struct audit_sink *sink, const struct audit_peer *peer)
{
    size_t slot = slot_of(peer);

    return is_peer(&sink->units[slot].peer, peer) ? sink->units[slot].unit : NULL;
}

/* /proc/PID/cgroup is read under a lock of the kernel that others may hold while they wait. */
static void find_unit(struct audit_sink *sink, const struct audit_peer *peer)
{
    size_t slot = slot_of(peer);
    char *unit = NULL;

    if (sd_pid_get_unit(peer->pid, &unit) < 0) {
        unit = NULL;
    }
    sink->units[slot].peer = *peer;
    copy(sink->units[slot].unit, sizeof(sink->units[slot].unit), unit);
    free(unit);
}

/* --- the log's thread: a record by its field table --- */

/* A record of the schema, and what it borrows beside the entry. */
struct record {
    struct audit_record record;
    char time[TEXT_TIME_BYTES];
    const char *types[AUDIT_TYPES];
};

static const char *or_none(const char *string)
{
    return string && string[0] ? string : NULL;
}

static void fill_subject(struct record *made, const struct audit_subject *subject)
{
    struct audit_record *record = &made->record;

    record->name = or_none(subject->name);
    record->uuid = or_none(subject->uuid);
    record->has_name_exact = !text_is_utf8(subject->name) || !text_is_utf8(subject->uuid);
    record->new_name = or_none(subject->new_name);
    record->new_uuid = or_none(subject->new_uuid);
    record->flags = subject->flags;
    for (size_t i = 0; i < subject->types_count; i++) {
        made->types[i] = subject->types[i];
    }
    record->targets = made->types;
    record->targets_count = subject->types_count;
    record->has_target_count = subject->target_count > 0;
    record->target_count = subject->target_count;
    record->message = or_none(subject->word);
}

static void fill_peer(struct audit_record *record, const struct entry *entry, const char *unit)
{
    record->has_pid = record->has_uid = entry->has_peer;
    record->pid = (uint32_t)entry->peer.pid;
    record->uid = entry->uid;
    record->has_gid = entry->has_gid;
    record->gid = entry->gid;
    record->has_connection = entry->peer.connection > 0;
    record->connection = entry->peer.connection;
    record->unit = or_none(unit);
}

static const char *effect_word(enum method_effect effect)
{
    static const char *const words[] = {
        [EFFECT_READ] = "read",
        [EFFECT_WRITE] = "write",
        [EFFECT_ADMIN] = "admin",
    };

    return words[effect];
}

static void fill_common(struct record *made, const char *instance, const struct timespec *time)
{
    text_time(time, made->time);
    made->record.audit = VERSION;
    made->record.instance = instance;
    made->record.time = made->time;
}

static void fill(struct record *made, const struct entry *entry, const struct audit_sink *sink)
{
    struct audit_record *record = &made->record;

    *made = (struct record){0};
    fill_common(made, sink->instance, &entry->time);
    fill_peer(record, entry, known_unit(sink, &entry->peer));
    fill_subject(made, &entry->subject);
    record->seq = entry->seq;
    record->kind = entry->kind;
    record->outcome = entry->outcome;
    record->has_call = entry->call > 0;
    record->call = entry->call;
    record->has_by = entry->by > 0;
    record->by = entry->by;
    if (entry->method) {
        record->method = entry->method->name;
        record->effect = effect_word(entry->method->effect);
        record->state = or_none(entry->text);
    } else {
        record->detail = or_none(entry->text);
    }
    record->has_device = entry->has_device;
    record->device = (struct device){entry->device.major, entry->device.minor};
    record->error = entry->error;
    record->errno_name = entry->errno_name;
    record->ioctl = entry->ioctl;
    record->reason = entry->reason;
    record->has_duration_us = entry->has_duration;
    record->duration_us = entry->duration_us;
}

static bool to_stderr(const struct audit_record *record)
{
    struct iovec pieces[4]; /* the largest record is far smaller than two blocks */
    bool written = true;
    struct out out;

    out_init(&out, SIZE_MAX, NULL);
    encode_object(&type_audit_record, record, &out);
    out_char(&out, '\n');
    size_t count = out_pieces(&out, pieces, sizeof(pieces) / sizeof(pieces[0]));
    written = out.error == 0;
    for (size_t i = 0; i < count && written; i++) {
        written = log_write(pieces[i].iov_base, pieces[i].iov_len);
    }
    out_done(&out);
    return written;
}

/* --- the log's thread: journald --- */

/* The fields of one message, FIELD=value each, in one piece of memory. */
struct fields {
    char text[16384];
    size_t length;
    struct iovec pieces[64];
    size_t count;
    bool is_full;
};

__attribute__((format(printf, 2, 3))) static void add(struct fields *fields, const char *format,
                                                      ...)
{
    char *to = fields->text + fields->length;
    size_t room = sizeof(fields->text) - fields->length;
    va_list args;

    va_start(args, format);
    int n = vsnprintf(to, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room ||
        fields->count == sizeof(fields->pieces) / sizeof(fields->pieces[0])) {
        fields->is_full = true;
        return;
    }
    fields->pieces[fields->count++] = (struct iovec){.iov_base = to, .iov_len = (size_t)n};
    fields->length += (size_t)n;
}

static void add_members(struct fields *fields, const char *prefix, const struct type *type,
                        const void *object);

/* As JSON would show it: a string may be no UTF-8. */
static void add_text(struct fields *fields, const char *name, const char *string)
{
    char text[1024];

    text_copy(string, text, sizeof(text));
    add(fields, "%s=%s", name, text);
}

static void add_flags(struct fields *fields, const char *name, uint32_t flags)
{
    for (size_t i = 0; i < flag_count; i++) {
        if (flags & flag_table[i].bit) {
            add(fields, "%s=%s", name, flag_table[i].name);
        }
    }
}

static void add_member(struct fields *fields, const char *name, const struct field *field,
                       const void *object)
{
    const char *at = (const char *)object + field->offset;
    char prefix[64];

    switch (field->kind) {
    case FIELD_BOOL:
        add(fields, "%s=%s", name, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_U32:
        add(fields, "%s=%" PRIu32, name, *(const uint32_t *)at);
        break;
    case FIELD_U64:
        add(fields, "%s=%" PRIu64, name, *(const uint64_t *)at);
        break;
    case FIELD_STRING:
        add_text(fields, name, *(const char *const *)at);
        break;
    case FIELD_FLAGS:
        add_flags(fields, name, *(const uint32_t *)at);
        break;
    case FIELD_OBJECT:
        (void)snprintf(prefix, sizeof(prefix), "%s_", name);
        add_members(fields, prefix, field->type, at);
        break;
    case FIELD_ARRAY:
        for (size_t i = 0; i < *(const size_t *)((const char *)object + field->count_offset); i++) {
            add_member(fields, name, field->item, *(const char *const *)at + i * field->item_size);
        }
        break;
    case FIELD_I64:
    case FIELD_BITS:
    case FIELD_JSON: /* a record has none */
        fields->is_full = true;
        break;
    }
}

static void add_members(struct fields *fields, const char *prefix, const struct type *type,
                        const void *object)
{
    char name[64];

    for (size_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        if (field->absence == FIELD_OPTIONAL && encode_is_empty(field, object)) {
            continue;
        }
        int n = snprintf(name, sizeof(name), "%s%s", prefix, field->name);
        for (int c = 0; c < n; c++) {
            name[c] = (char)toupper((unsigned char)name[c]);
        }
        add_member(fields, name, field, object);
    }
}

/* "device_rename of 'a' (254:0) by process 12 of user id 0: failed, device_busy" */
static void add_sentence(struct fields *fields, const struct audit_record *record)
{
    char device[192] = "";
    char who[64] = "";
    char sentence[640];
    char line[2048];
    const char *why = record->error ? record->error : record->reason;

    why = why ? why : record->detail;
    if (record->name || record->uuid) {
        (void)snprintf(device, sizeof(device), " of '%s'",
                       record->name ? record->name : record->uuid);
    }
    if (record->has_device) {
        size_t length = strlen(device);
        (void)snprintf(device + length, sizeof(device) - length, " (%" PRIu32 ":%" PRIu32 ")",
                       record->device.major, record->device.minor);
    }
    if (record->has_pid) {
        (void)snprintf(who, sizeof(who), " by process %" PRIu32 " of user id %" PRIu32, record->pid,
                       record->uid);
    }
    if (record->has_lost) {
        (void)snprintf(sentence, sizeof(sentence), "%" PRIu64 " records of the audit were lost",
                       record->lost);
    } else {
        (void)snprintf(sentence, sizeof(sentence), "%s%s%s: %s%s%s",
                       record->method ? record->method : record->kind, device, who, record->outcome,
                       why ? ", " : "", why ? why : "");
    }
    text_line(sentence, line, sizeof(line));
    add(fields, "MESSAGE=%s", line);
}

static int priority_of(const struct audit_record *record)
{
    if (record->has_lost || strcmp(record->outcome, "refused") == 0) {
        return PRIORITY_WARNING;
    }
    return strcmp(record->outcome, "ok") == 0 ? PRIORITY_INFO : PRIORITY_NOTICE;
}

static bool journal_is_there(void)
{
    return access(JOURNAL_SOCKET, F_OK) == 0;
}

/* Asked twice: where nobody listens the library drops the message and says that all is well. */
static bool to_journal(const struct audit_record *record)
{
    struct fields fields = {0};

    if (!journal_is_there()) {
        return false;
    }
    add_sentence(&fields, record);
    add(&fields, "PRIORITY=%d", priority_of(record));
    add(&fields, "SYSLOG_IDENTIFIER=dmrpcd");
    add(&fields, "MESSAGE_ID=9b3f46b3844b4e4299360cbd6d01c04d");
    add_members(&fields, "DMRPC_", &type_audit_record, record);
    return !fields.is_full && sd_journal_sendv(fields.pieces, (int)fields.count) == 0 &&
           journal_is_there();
}

/* --- the log's thread: what it calls --- */

static bool put(struct audit_sink *sink, const struct audit_record *record)
{
    if (!to_journal(record) && !to_stderr(record)) {
        return false;
    }
    sink->last_seq = record->seq;
    return true;
}

static bool write_entry(void *data, const void *bytes)
{
    struct audit_sink *sink = data;
    const struct entry *entry = bytes;
    struct record made;

    /* Of a lease's holder a process of that number may be another one by now. */
    if (entry->is_hint || (entry->method && !known_unit(sink, &entry->peer))) {
        find_unit(sink, &entry->peer);
    }
    if (entry->is_hint) {
        return true;
    }
    fill(&made, entry, sink);
    return put(sink, &made.record);
}

static bool write_lost(void *data, uint64_t count)
{
    struct audit_sink *sink = data;
    struct record made = {0};
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    fill_common(&made, sink->instance, &now);
    made.record.seq = sink->last_seq;
    made.record.kind = "lost";
    made.record.outcome = "lost";
    made.record.has_lost = true;
    made.record.lost = count;
    return put(sink, &made.record);
}

struct log_writer audit_writer(struct audit *audit, const char *instance)
{
    audit->sink.instance = instance;
    return (struct log_writer){.write = write_entry, .lost = write_lost, .data = &audit->sink};
}
