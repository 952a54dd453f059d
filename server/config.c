/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the configuration file, has it decoded by the schema's tables, and makes rules of it.
 * What the tables cannot say is checked here. It knows nothing of the daemon that runs.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decode.h"
#include "json_line.h"
#include "json_memory.h"
#include "scan.h"
#include "text.h"

static const char *const effect_names[] = {
    [EFFECT_READ] = "read",
    [EFFECT_WRITE] = "write",
    [EFFECT_ADMIN] = "admin",
};
enum { EFFECTS = sizeof(effect_names) / sizeof(effect_names[0]) };

/* A file that is being read. */
struct reader {
    const char *path;
    struct config_file *file;
};

/* --- faults --- */

/* Keys and names are the file's own, and may be cut; the fault is one line, in UTF-8. */
static void end_fault(struct config_file *file)
{
    for (char *c = file->fault; *c;) {
        size_t length = text_sequence(c);
        if (length == 0 || (unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
            length = 1;
        }
        c += length;
    }
}

__attribute__((format(printf, 3, 4))) static int refuse(const struct reader *reader, int error,
                                                        const char *format, ...)
{
    struct config_file *file = reader->file;
    va_list args;

    int n = snprintf(file->fault, sizeof(file->fault), "%.400s: ", reader->path);
    size_t length = n > 0 ? (size_t)n : 0;
    va_start(args, format);
    (void)vsnprintf(file->fault + length, sizeof(file->fault) - length, format, args);
    va_end(args);
    end_fault(file);
    return -error;
}

/* A fault at a place that a pointer tells. */
static int refuse_at(const struct reader *reader, const char *pointer, const char *reason)
{
    return refuse(reader, EINVAL, "line %zu: at \"%.200s\": %.300s. Mend the file.",
                  json_line(reader->file->text, reader->file->length, pointer), pointer, reason);
}

static int refuse_memory(const struct reader *reader)
{
    (void)refuse(reader, ENOMEM, "there is no memory to read it. Try again.");
    return -ENOMEM;
}

/* --- the bytes --- */

/* Who can write it gives himself rights. */
static int check_file(const struct reader *reader, const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) {
        return refuse(reader, EINVAL, "not used, because it is no plain file. Name one.");
    }
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        return refuse(reader, EPERM,
                      "not used: it belongs to user %u, and who writes it gives rights. Give it to "
                      "root (chown "
                      "root), or to the user that dmrpcd runs as.",
                      st->st_uid);
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        return refuse(reader, EPERM,
                      "not used: not only its owner can write it, and who does gives rights. Take "
                      "that away (chmod go-w).");
    }
    if (st->st_size > CONFIG_FILE_BYTES) {
        return refuse(reader, EFBIG, "not used: it has more than %d bytes. Mend the file.",
                      CONFIG_FILE_BYTES);
    }
    return 0;
}

static int read_bytes(const struct reader *reader, int fd)
{
    struct config_file *file = reader->file;

    file->text = malloc(CONFIG_FILE_BYTES + 1);
    if (!file->text) {
        return refuse_memory(reader);
    }
    ssize_t n;
    do {
        n = read(fd, file->text + file->length, CONFIG_FILE_BYTES + 1 - file->length);
        file->length += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0) {
        return refuse(reader, errno, "cannot be read: %s. Mend the file or name another.",
                      strerror(errno));
    }
    if (file->length > CONFIG_FILE_BYTES) {
        return refuse(reader, EFBIG, "not used: it has more than %d bytes. Mend the file.",
                      CONFIG_FILE_BYTES);
    }
    return 0;
}

/* O_NONBLOCK: a FIFO that nobody writes to must not hold us up. */
static int read_file(const struct reader *reader)
{
    struct stat st;
    int fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return refuse(reader, errno, "cannot be read: %s. Mend the file or name another.",
                      strerror(errno));
    }
    int rc = fstat(fd, &st) == 0 ? check_file(reader, &st)
                                 : refuse(reader, errno, "cannot be read: %s.", strerror(errno));
    if (rc == 0) {
        reader->file->owner = st.st_uid;
        rc = read_bytes(reader, fd);
    }
    (void)close(fd);
    return rc;
}

/* --- the JSON --- */

/* The parser's recursion needs stack, of which a worker has little. */
static bool is_too_deep(const struct config_file *file)
{
    static const struct scan_limits limits = {SIZE_MAX, CONFIG_DEPTH, SIZE_MAX};
    struct scan scan = {0};
    size_t used;
    size_t blank;

    return scan_feed(&scan, &limits, file->text, file->length, &used, &blank) == SCAN_TOO_DEEP;
}

static int parse(const struct reader *reader)
{
    struct config_file *file = reader->file;
    json_error_t error;

    if (is_too_deep(file)) {
        return refuse(reader, EINVAL, "not used: it nests deeper than %d levels. Mend the file.",
                      CONFIG_DEPTH);
    }
    if (!json_memory_load(file->text, file->length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error,
                          &file->json)) {
        return refuse_memory(reader);
    }
    if (!file->json && json_error_code(&error) == json_error_duplicate_key) {
        return refuse(reader, EINVAL, "line %d: %s: it stands twice. Mend the file.", error.line,
                      error.text);
    }
    if (!file->json) {
        return refuse(reader, EINVAL, "line %d: not valid JSON: %s. Mend the file.", error.line,
                      error.text);
    }
    return 0;
}

static int decode(const struct reader *reader)
{
    struct config_file *file = reader->file;
    struct decode_fault fault = {0};

    if (!json_is_object(file->json)) {
        return refuse_at(reader, "", "must be an object");
    }
    int rc = decode_object(&type_config, file->json, &file->arena, &file->config, &fault);
    if (rc == -EINVAL) {
        return refuse_at(reader, fault.path, fault.reason);
    }
    return rc < 0 ? refuse_memory(reader) : 0;
}

/* --- users and groups --- */

enum { LOOKUP_BYTES = 1024, LOOKUP_MAX = 4 * 1048576 };

/* 0; -ENOENT: there is none; -errno. A group may have many members, and wants much memory. */
static int find_number(const char *name, bool is_group, uint32_t *ret_id)
{
    int rc = ERANGE;

    for (size_t size = LOOKUP_BYTES; rc == ERANGE && size <= LOOKUP_MAX; size *= 4) {
        char *buffer = malloc(size);
        struct passwd user;
        struct group group;
        struct passwd *found_user = NULL;
        struct group *found_group = NULL;
        if (!buffer) {
            return -ENOMEM;
        }
        if (is_group) {
            rc = getgrnam_r(name, &group, buffer, size, &found_group);
        } else {
            rc = getpwnam_r(name, &user, buffer, size, &found_user);
        }
        if (found_group || found_user) {
            *ret_id = found_group ? group.gr_gid : user.pw_uid;
        } else if (rc == 0) {
            rc = ENOENT;
        }
        free(buffer);
    }
    /* These, too, are how the C library says that there is none. */
    return rc == ESRCH || rc == EBADF || rc == EPERM ? -ENOENT : -rc;
}

/* --- rules --- */

/* Where in the file a rule's member stands, for a fault. */
struct place {
    char text[96];
};

__attribute__((format(printf, 1, 2))) static struct place place(const char *format, ...)
{
    struct place at;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(at.text, sizeof(at.text), format, args);
    va_end(args);
    return at;
}

static int refuse_name(const struct reader *reader, const struct place *at, const char *kind,
                       const char *name, int rc)
{
    char reason[384];

    if (rc == -ENOENT) {
        (void)snprintf(reason, sizeof(reason), "there is no %s '%s'", kind, name);
    } else {
        (void)snprintf(reason, sizeof(reason), "the %s '%s' could not be looked up: %s", kind, name,
                       strerror(-rc));
    }
    return refuse_at(reader, at->text, reason);
}

static int make_who(const struct reader *reader, size_t rule, size_t i, struct rule_who *ret_who)
{
    const struct config_who *from = &reader->file->config.rules[rule].who[i];
    struct place at;
    int rc = 0;

    ret_who->kind = from->has_any ? RULE_ANY : from->user || from->has_uid ? RULE_UID : RULE_GID;
    ret_who->id = from->has_uid ? from->uid : from->gid;
    if (from->has_any && !from->any) {
        at = place("/rules/%zu/who/%zu/any", rule, i);
        return refuse_at(reader, at.text, "can only be true: rules only allow");
    }
    if (from->user || from->group) {
        const char *kind = from->user ? "user" : "group";
        const char *name = from->user ? from->user : from->group;
        at = place("/rules/%zu/who/%zu/%s", rule, i, kind);
        rc = find_number(name, !from->user, &ret_who->id);
        rc = rc < 0 ? refuse_name(reader, &at, kind, name, rc) : 0;
    }
    return rc;
}

/* 0: it is an effect; 1: a method. */
static int take_what(const struct reader *reader, size_t rule, size_t i, struct rule *to)
{
    const char *what = reader->file->config.rules[rule].what[i];

    for (unsigned int effect = 0; effect < EFFECTS; effect++) {
        if (strcmp(what, effect_names[effect]) == 0) {
            to->effects |= UINT32_C(1) << effect;
            return 0;
        }
    }
    if (!method_find(what)) {
        struct place at = place("/rules/%zu/what/%zu", rule, i);
        return refuse_at(reader, at.text,
                         "no method has this name, and the effects are read, write and admin");
    }
    return 1;
}

static int make_what(const struct reader *reader, size_t rule, struct rule *to)
{
    const struct config_rule *from = &reader->file->config.rules[rule];
    const char **methods = arena_alloc(&reader->file->arena, from->what_count, sizeof(*methods));
    int rc = methods ? 0 : refuse_memory(reader);

    to->methods = methods;
    for (size_t i = 0; rc >= 0 && i < from->what_count; i++) {
        rc = take_what(reader, rule, i, to);
        if (rc > 0) {
            methods[to->methods_count++] = from->what[i];
        }
    }
    return rc < 0 ? rc : 0;
}

static int make_devices(const struct reader *reader, size_t rule, struct rule *to)
{
    const struct config_rule *from = &reader->file->config.rules[rule];
    struct rule_glob *globs =
        arena_alloc(&reader->file->arena, from->devices_count, sizeof(*globs));

    if (!globs) {
        return refuse_memory(reader);
    }
    for (size_t i = 0; i < from->devices_count; i++) {
        const struct config_device *device = &from->devices[i];
        globs[i] = device->name ? (struct rule_glob){RULE_BY_NAME, device->name}
                                : (struct rule_glob){RULE_BY_UUID, device->uuid};
    }
    to->devices = globs;
    to->devices_count = from->devices_count;
    return 0;
}

/* A glob that could match nothing: all names are absolute paths, or major:minor. */
static int check_under(const struct reader *reader, size_t rule)
{
    const struct config_rule *from = &reader->file->config.rules[rule];

    for (size_t i = 0; i < from->under_count; i++) {
        if (from->under[i][0] != '/' && !strchr(from->under[i], ':')) {
            struct place at = place("/rules/%zu/under/%zu", rule, i);
            return refuse_at(reader, at.text,
                             "matches nothing: it must be a glob on an absolute path, or on "
                             "major:minor");
        }
    }
    return 0;
}

static int check_name(const struct reader *reader, size_t rule)
{
    const struct config *config = &reader->file->config;

    for (size_t i = 0; i < rule; i++) {
        if (strcmp(config->rules[i].name, config->rules[rule].name) == 0) {
            struct place at = place("/rules/%zu/name", rule);
            return refuse_at(reader, at.text, "another rule has this name");
        }
    }
    return 0;
}

static int make_rule(const struct reader *reader, size_t rule, struct rule *to)
{
    const struct config_rule *from = &reader->file->config.rules[rule];
    struct rule_who *who = arena_alloc(&reader->file->arena, from->who_count, sizeof(*who));
    int rc = who ? check_name(reader, rule) : refuse_memory(reader);

    for (size_t i = 0; rc == 0 && i < from->who_count; i++) {
        rc = make_who(reader, rule, i, &who[i]);
    }
    *to = (struct rule){
        .name = from->name,
        .who = who,
        .who_count = from->who_count,
        .under = from->under,
        .under_count = from->under_count,
        .show_keys = from->show_keys,
    };
    if (rc == 0) {
        rc = make_what(reader, rule, to);
    }
    if (rc == 0) {
        rc = make_devices(reader, rule, to);
    }
    return rc < 0 ? rc : check_under(reader, rule);
}

static int check_group(const struct reader *reader)
{
    static const struct place at = {"/group"};
    const char *name = reader->file->config.group;
    uint32_t gid;
    int rc = name ? find_number(name, true, &gid) : 0;

    return rc < 0 ? refuse_name(reader, &at, "group", name, rc) : 0;
}

/* An absent array is a NULL; an empty one is there. */
static int make_rules(const struct reader *reader)
{
    struct config_file *file = reader->file;
    const struct config *config = &file->config;

    if (!config->rules) {
        return 0;
    }
    struct rule *rules = arena_alloc(&file->arena, config->rules_count, sizeof(*rules));
    int rc = rules ? 0 : refuse_memory(reader);
    for (size_t i = 0; rc == 0 && i < config->rules_count; i++) {
        rc = make_rule(reader, i, &rules[i]);
    }
    if (rc == 0 && rules_new(rules, config->rules_count, true, &file->rules) < 0) {
        rc = refuse_memory(reader);
    }
    return rc;
}

/* --- the whole --- */

int config_read(const char *path, struct config_file *ret_file)
{
    const struct reader reader = {.path = path, .file = ret_file};

    *ret_file = (struct config_file){0};
    config_default_limits(&ret_file->config.limits);
    int rc = read_file(&reader);
    if (rc == 0) {
        rc = parse(&reader);
    }
    if (rc == 0) {
        rc = decode(&reader);
    }
    if (rc == 0) {
        rc = check_group(&reader);
    }
    if (rc == 0) {
        rc = make_rules(&reader);
    }
    return rc;
}

void config_done(struct config_file *file)
{
    (void)rules_unref(file->rules);
    json_decref(file->json);
    arena_done(&file->arena);
    free(file->text);
    *file = (struct config_file){0};
}

/* --- remarks --- */

struct teller {
    const struct config_file *file;
    void (*tell)(void *data, const char *remark);
    void *data;
};

__attribute__((format(printf, 2, 3))) static void tell(const struct teller *teller,
                                                       const char *format, ...)
{
    char remark[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(remark, sizeof(remark), format, args);
    va_end(args);
    teller->tell(teller->data, remark);
}

/* Do rules allow anybody a method of this effect? */
static bool somebody_may(const struct rules *rules, enum method_effect effect)
{
    bool may = false;

    for (size_t i = 0; !may && i < rules_count(rules); i++) {
        for (size_t j = 0; !may && j < method_count; j++) {
            const struct method *method = &method_table[j];
            may = method->effect == effect && rules_takes_method(rules_at(rules, i), method);
        }
    }
    return may;
}

static bool root_may(const struct rules *rules)
{
    const struct rules_who root = {0};
    bool may = false;

    for (size_t i = 0; !may && i < method_count; i++) {
        may = rules_any(rules, &root, &method_table[i]).rule != RULES_NO_RULE;
    }
    return may;
}

/* Does it count which devices a rule is for? Of lists these see less. */
static bool goes_by_devices(const struct method *method)
{
    static const char *const lists[] = {"calls_list", "events_subscribe", "lease_list",
                                        "list_devices"};
    bool goes = method->scope != SCOPE_SERVER;

    for (size_t i = 0; !goes && i < sizeof(lists) / sizeof(lists[0]); i++) {
        goes = strcmp(method->name, lists[i]) == 0;
    }
    return goes;
}

static void remark_devices(const struct teller *teller, const struct rule *rule)
{
    bool counts = rule->devices_count == 0;

    for (size_t i = 0; i < method_count; i++) {
        const struct method *method = &method_table[i];
        bool takes = rules_takes_method(rule, method);
        counts = counts || (takes && goes_by_devices(method));
        if (takes && method->scope == SCOPE_ALL && rule->devices_count > 0) {
            tell(teller, "Rule '%s' has devices, so it does not allow %s, which concerns all.",
                 rule->name, method->name);
        }
    }
    if (!counts) {
        tell(teller, "Rule '%s' has devices, which make no difference to its methods.", rule->name);
    }
}

static bool takes(const struct rule *rule, const char *method)
{
    return rules_takes_method(rule, method_find(method));
}

static void remark_rule(const struct teller *teller, const struct rule *rule)
{
    remark_devices(teller, rule);
    if (rule->under_count > 0 && !takes(rule, "table_load") && !takes(rule, "table_swap")) {
        tell(teller,
             "Rule '%s' says what tables may lie on, but allows no table_load or table_swap.",
             rule->name);
    }
    if (rule->show_keys && !takes(rule, "table_status")) {
        tell(teller, "Rule '%s' shows keys, but allows no table_status.", rule->name);
    }
}

static void remark_rules(const struct teller *teller)
{
    const struct rules *rules = teller->file->rules;

    if (rules_count(rules) == 0) {
        tell(teller, "There are no rules: everybody is denied everything, root too.");
        return;
    }
    if (!somebody_may(rules, EFFECT_WRITE)) {
        tell(teller, "No rule allows anybody to change devices.");
    }
    if (!root_may(rules)) {
        tell(teller, "No rule is for root, who is denied everything.");
    }
    for (size_t i = 0; i < rules_count(rules); i++) {
        remark_rule(teller, rules_at(rules, i));
    }
}

static void remark_fixed(const struct teller *teller)
{
    const json_t *json = teller->file->json;
    const json_t *limits = json_object_get(json, "limits");
    char names[256] = "";
    size_t length = 0;

    for (size_t i = 0; i < 2; i++) {
        const char *name = i == 0 ? "socket" : "group";
        if (json_object_get(json, name)) {
            length += (size_t)snprintf(names + length, sizeof(names) - length, ", %s", name);
        }
    }
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        if (config_is_fixed(field) && json_object_get(limits, field->name)) {
            length += (size_t)snprintf(names + length, sizeof(names) - length, ", %s", field->name);
        }
    }
    if (length > 0) {
        tell(teller, "A SIGHUP does not change these, only a start: %s.", names + 2);
    }
}

void config_remark(const struct config_file *file, void (*each)(void *data, const char *remark),
                   void *data)
{
    const struct teller teller = {.file = file, .tell = each, .data = data};

    if (file->rules) {
        remark_rules(&teller);
    }
    remark_fixed(&teller);
    if (file->owner != 0) {
        tell(&teller,
             "It belongs to user %u: a dmrpcd that runs as another user, such as root, will "
             "refuse it.",
             file->owner);
    }
}

/* --- limits --- */

uint64_t config_limit(const struct limits *limits, const struct field *field)
{
    const void *at = (const char *)limits + field->offset;

    return field->kind == FIELD_U32 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

void config_set_limit(struct limits *limits, const struct field *field, uint64_t value)
{
    void *at = (char *)limits + field->offset;

    if (field->kind == FIELD_U32) {
        __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED);
    }
}

void config_default_limits(struct limits *ret_limits)
{
    for (size_t i = 0; i < type_limits.count; i++) {
        config_set_limit(ret_limits, &type_limits.fields[i], type_limits.fields[i].preset);
    }
}

bool config_is_fixed(const struct field *field)
{
    static const char *const names[] = {"connections", "reply_bytes", "total_bytes", "values",
                                        "workers"};
    bool fixed = false;

    for (size_t i = 0; !fixed && i < sizeof(names) / sizeof(names[0]); i++) {
        fixed = strcmp(field->name, names[i]) == 0;
    }
    return fixed;
}
