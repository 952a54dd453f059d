/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of audit.c: the log's thread is real, stderr a file, and journald a function of the test's.
 */
#include "server_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "audit.h"
#include "server_said.h"

enum { MOST = 64 };

/* What journald is, and got. */
static struct {
    int there; /* for so many questions */
    int rc;
    unsigned messages;
    char fields[MOST][512];
    size_t count;
} journal;

/* The unit of every process, and how often it was asked for. */
static const char *unit;
static unsigned units_asked;

int __wrap_access(const char *path, int mode);
int __wrap_sd_journal_sendv(const struct iovec *pieces, int count);
int __wrap_sd_pid_get_unit(pid_t pid, char **ret_unit);

int __wrap_access(const char *path, int mode)
{
    (void)path;
    (void)mode;
    if (journal.there == 0) {
        return -1;
    }
    journal.there -= journal.there > 0;
    return 0;
}

int __wrap_sd_journal_sendv(const struct iovec *pieces, int count)
{
    journal.messages++;
    journal.count = 0;
    for (int i = 0; i < count && i < MOST; i++) {
        (void)snprintf(journal.fields[journal.count++], sizeof(journal.fields[0]), "%.*s",
                       (int)pieces[i].iov_len, (const char *)pieces[i].iov_base);
    }
    return journal.rc;
}

int __wrap_sd_pid_get_unit(pid_t pid, char **ret_unit)
{
    (void)pid;
    units_asked++;
    *ret_unit = unit ? strdup(unit) : NULL;
    return unit ? 0 : -ENODATA;
}

/* --- the rig --- */

static int setup(void **state)
{
    static struct rig rig;

    rig_init(&rig);
    (void)strcpy(rig.dispatcher.host.instance, "the-instance");
    memset(&journal, 0, sizeof(journal));
    unit = NULL;
    units_asked = 0;
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    return 0;
}

static void start(struct rig *rig)
{
    const struct log_writer writer =
        audit_writer(&rig->dispatcher.audit, rig->dispatcher.host.instance);

    said_start();
    assert_int_equal(log_start(&writer), 0);
}

/* The lines as an array; they must all be records. To be freed by json_decref. */
static json_t *finish(void)
{
    json_t *records = json_array();
    char *rest;

    log_stop();
    char *text = strdup(said_end());
    assert_non_null(text);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        assert_int_equal(json_array_append_new(records, rig_json(line)), 0);
    }
    free(text);
    return records;
}

static void call(struct rig *rig, const char *method, const char *params)
{
    struct asked asked;

    (void)ask_now(rig, &asked, method, params);
    ask_done(&asked);
}

static void call_as(struct rig *rig, uid_t uid, const char *method, const char *params)
{
    struct asked asked;

    if (!ask_how(rig, &asked, method, params, (struct ask_how){.uid = uid})) {
        ask_wait(rig, &asked);
    }
    ask_done(&asked);
}

static void assert_text(const json_t *records, size_t i, const char *path, const char *expected)
{
    const char *found = rig_string(json_array_get(records, i), path);

    assert_non_null(found);
    assert_string_equal(found, expected);
}

static void assert_number(const json_t *records, size_t i, const char *path, json_int_t expected)
{
    const json_t *found = rig_at(json_array_get(records, i), path);

    assert_true(json_is_integer(found));
    assert_int_equal(json_integer_value(found), expected);
}

static void assert_none(const json_t *records, size_t i, const char *path)
{
    assert_null(rig_at(json_array_get(records, i), path));
}

/* --- calls --- */

static void test_a_change_and_a_failure(void **state)
{
    struct rig *rig = *state;

    start(rig);
    call(rig, "device_create", "{\"name\":\"a\",\"uuid\":\"U\"}");
    call(rig, "device_rename", "{\"name\":\"a\",\"new_name\":\"b\"}");
    call(rig, "device_rename", "{\"name\":\"a\",\"new_name\":\"c\"}");
    call(rig, "device_status", "{\"name\":\"nothing\"}");
    call(rig, "device_suspend", "{\"name\":\"b\",\"flags\":[\"DM_SUSPEND\",\"DM_NOFLUSH\"]}");
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_number(records, i, "audit", 1);
        assert_number(records, i, "seq", (json_int_t)i + 1);
        assert_text(records, i, "instance", "the-instance");
        assert_text(records, i, "kind", "call");
        assert_text(records, i, "effect", "write");
        assert_number(records, i, "uid", 0);
        assert_none(records, i, "unit");
        assert_none(records, i, "connection");
        assert_non_null(rig_at(json_array_get(records, i), "duration_us"));
    }
    assert_text(records, 0, "outcome", "ok");
    assert_text(records, 0, "new_uuid", "U");
    assert_number(records, 0, "device/major", 254);
    assert_text(records, 1, "name", "a");
    assert_text(records, 1, "uuid", "U");
    assert_text(records, 1, "new_name", "b");
    assert_text(records, 2, "outcome", "failed");
    assert_text(records, 2, "error", "device_not_found");
    assert_text(records, 2, "errno_name", "ENXIO");
    assert_text(records, 2, "ioctl", "DM_DEV_RENAME");
    assert_json_equal(rig_at(json_array_get(records, 3), "flags"),
                      "[\"DM_SUSPEND\",\"DM_NOFLUSH\"]");
    assert_int_equal(rig->dispatcher.counters.stats.audit_records, 4);
    json_decref(records);
}

static void test_refusals(void **state)
{
    struct rig *rig = *state;

    start(rig);
    call_as(rig, 12, "device_create", "{\"name\":\"a\"}");
    call_as(rig, 12, "remove_all", "{\"confirm\":true}");
    call_as(rig, 12, "version", NULL);
    call(rig, "no_such_method", NULL);
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 2);
    assert_text(records, 0, "outcome", "refused");
    assert_text(records, 0, "error", "permission_denied");
    assert_text(records, 0, "name", "a");
    assert_number(records, 0, "uid", 12);
    assert_text(records, 1, "effect", "admin");
    json_decref(records);
}

/* By its handler; and by the kernel, which refuses the daemon. */
static void test_a_refusal_of_what_reads(void **state)
{
    struct rig *rig = *state;
    static struct call made;

    made = (struct call){.dispatcher = &rig->dispatcher, .method = method_find("call_cancel")};
    start(rig);
    failure_set(&made.failure, ERROR_PERMISSION_DENIED, "not yours");
    audit_ended(&made, &made.failure);
    made.failure.data.has_errnum = true;
    audit_ended(&made, &made.failure);
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 1);
    assert_text(records, 0, "outcome", "refused");
    assert_text(records, 0, "effect", "read");
    json_decref(records);
}

/* Of what is asked for without a call. */
static void test_a_refusal_without_a_call(void **state)
{
    struct rig *rig = *state;
    const struct peer peer = {.pid = 7, .uid = 12, .gid = 13};

    unit = "curl.scope";
    start(rig);
    audit_refused(&rig->dispatcher, &peer, "server_stats");
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 1);
    assert_text(records, 0, "kind", "call");
    assert_text(records, 0, "outcome", "refused");
    assert_text(records, 0, "error", "permission_denied");
    assert_text(records, 0, "method", "server_stats");
    assert_text(records, 0, "effect", "read");
    assert_text(records, 0, "unit", "curl.scope");
    assert_number(records, 0, "pid", 7);
    assert_number(records, 0, "uid", 12);
    assert_number(records, 0, "gid", 13);
    assert_none(records, 0, "call");
    assert_int_equal(units_asked, 1);
    json_decref(records);
}

/* A caller that is refused may send anything. */
static void test_strings_that_are_none_or_too_long(void **state)
{
    struct rig *rig = *state;
    char params[1024];
    char name[401] = "x";

    for (size_t i = 1; i < 399; i += 2) {
        memcpy(name + i, "\xc3\xa4", 3);
    }
    (void)snprintf(params, sizeof(params), "{\"name\":\"%s\",\"new_name\":7}", name);
    start(rig);
    call_as(rig, 12, "device_rename", params);
    call(rig, "device_rename", params);
    call_as(rig, 12, "device_rename", "[1]");
    json_t *records = finish();

    name[DMI_NAME_MAX] = '\0';
    assert_int_equal(json_array_size(records), 3);
    assert_text(records, 0, "name", name);
    assert_none(records, 0, "name_exact");
    assert_none(records, 0, "new_name");
    assert_text(records, 1, "outcome", "failed");
    assert_text(records, 1, "error", "invalid_params");
    assert_none(records, 2, "name");
    json_decref(records);
}

static void test_secrets(void **state)
{
    static const char *const messages[][2] = {
        {"key set 00112233445566778899aabbccddeeff", "key"},
        {"00112233445566778899aabbccddeeff", NULL},
        {"abcdefghijklmnopqrstuvwxyz", NULL},
        {"Secret", NULL},
        {"se-cret", NULL},
        {"@stats_list", "@stats_list"},
        {" key", NULL},
    };
    const size_t count = sizeof(messages) / sizeof(messages[0]);
    struct rig *rig = *state;
    char params[256];

    rig_device(rig, "x", NULL);
    start(rig);
    call(rig, "table_load",
         "{\"name\":\"x\",\"targets\":["
         "{\"start\":0,\"length\":8,\"type\":\"crypt\",\"params\":\"aes 0011223344 0 /dev/s 0\"},"
         "{\"start\":8,\"length\":8,\"type\":\"zero\",\"params\":\"\"},"
         "{\"start\":16,\"length\":8,\"type\":\"zero\",\"params\":\"\"}]}");
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(params, sizeof(params), "{\"name\":\"x\",\"message\":\"%s\"}",
                       messages[i][0]);
        call(rig, "target_msg", params);
    }
    json_t *records = finish();
    char *text = json_dumps(records, 0);

    assert_null(strstr(text, "00112233"));
    free(text);
    assert_int_equal(json_array_size(records), count + 1);
    assert_json_equal(rig_at(json_array_get(records, 0), "targets"), "[\"crypt\",\"zero\"]");
    assert_number(records, 0, "target_count", 3);
    for (size_t i = 0; i < count; i++) {
        if (messages[i][1]) {
            assert_text(records, i + 1, "message", messages[i][1]);
        } else {
            assert_none(records, i + 1, "message");
        }
    }
    json_decref(records);
}

static void test_many_types(void **state)
{
    struct rig *rig = *state;
    char params[2048] = "{\"name\":\"x\",\"targets\":[";

    for (int i = 0; i < AUDIT_TYPES + 3; i++) {
        size_t length = strlen(params);
        (void)snprintf(params + length, sizeof(params) - length,
                       "%s{\"start\":0,\"length\":8,\"type\":\"type-%d\",\"params\":\"\"}",
                       i > 0 ? "," : "", i);
    }
    (void)strcat(params, "]}");
    start(rig);
    call(rig, "table_load", params);
    json_t *records = finish();

    assert_int_equal(json_array_size(rig_at(json_array_get(records, 0), "targets")), AUDIT_TYPES);
    assert_number(records, 0, "target_count", AUDIT_TYPES + 3);
    json_decref(records);
}

/* --- the largest, and what is no UTF-8 --- */

/* A call in which every string is as long as it can be, of bytes that take most when printed. */
static void fill_call(struct rig *rig, struct call *made, char byte)
{
    struct audit_subject *subject = &made->audit;

    *made = (struct call){
        .dispatcher = &rig->dispatcher,
        .method = method_find("simulate_fault_remove"),
        .number = INT64_MAX,
        .peer = {.pid = INT32_MAX, .uid = UINT32_MAX, .gid = UINT32_MAX, .connection = INT64_MAX},
        .has_device = true,
        .device = {UINT32_MAX, UINT32_MAX},
    };
    atomic_store(&made->life.by, INT64_MAX);
    memset(subject->name, byte, DMI_NAME_MAX);
    memset(subject->uuid, byte, DMI_UUID_MAX);
    memset(subject->new_name, byte, DMI_NAME_MAX);
    memset(subject->new_uuid, byte, DMI_UUID_MAX);
    for (size_t i = 0; i < AUDIT_TYPES; i++) {
        memset(subject->types[i], byte, DMI_TYPE_MAX);
    }
    subject->types_count = AUDIT_TYPES;
    subject->target_count = INT64_MAX;
    memset(subject->word, 'w', AUDIT_WORD_MAX);
    subject->flags = UINT32_MAX;
    failure_set(&made->failure, ERROR_KERNEL_UNAVAILABLE, "no words");
    made->failure.data.errno_name = "EPROTONOSUPPORT";
    made->failure.data.ioctl = "DM_GET_TARGET_VERSION";
    memset(made->failure.state, byte, sizeof(made->failure.state) - 1);
    made->failure.data.state = made->failure.state;
}

static void test_the_largest_is_whole(void **state)
{
    static const char longest_unit[] =
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu.service";
    struct rig *rig = *state;
    static struct call made;

    unit = longest_unit;
    start(rig);
    fill_call(rig, &made, '\1');
    audit_ended(&made, &made.failure);
    fill_call(rig, &made, '\xff');
    audit_ended(&made, &made.failure);
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 2);
    assert_int_equal(strlen(rig_string(json_array_get(records, 0), "name")), DMI_NAME_MAX);
    assert_int_equal(strlen(rig_string(json_array_get(records, 0), "new_uuid")), DMI_UUID_MAX);
    assert_int_equal(strlen(rig_string(json_array_get(records, 0), "state")), 255);
    assert_int_equal(strlen(rig_string(json_array_get(records, 0), "unit")),
                     sizeof(longest_unit) - 1);
    assert_none(records, 0, "name_exact");
    assert_int_equal(strncmp(rig_string(json_array_get(records, 1), "name"), "\\xff\\xff", 8), 0);
    assert_true(json_is_false(rig_at(json_array_get(records, 1), "name_exact")));
    json_decref(records);
}

/* As many fields as there can be: else it would have gone to stderr. */
static void test_the_largest_fits_the_journal(void **state)
{
    struct rig *rig = *state;
    static struct call made;

    journal.there = -1;
    start(rig);
    fill_call(rig, &made, '\xff');
    audit_ended(&made, &made.failure);
    json_t *records = finish();

    assert_int_equal(json_array_size(records), 0);
    assert_int_equal(journal.messages, 1);
    json_decref(records);
}

/* --- the unit --- */

static void test_the_unit_is_asked_for_once(void **state)
{
    struct rig *rig = *state;
    static struct call made;

    unit = "agent.service";
    start(rig);
    fill_call(rig, &made, 'x');
    for (int i = 0; i < 3; i++) {
        audit_begun(&made);
        audit_ended(&made, &made.failure);
    }
    made.peer.connection--;
    audit_begun(&made);
    json_t *records = finish();

    assert_int_equal(units_asked, 2);
    assert_int_equal(json_array_size(records), 3);
    assert_text(records, 2, "unit", "agent.service");
    json_decref(records);
}

/* Over HTTP nothing tells a process from the next one of its number. */
static void test_the_unit_of_http_is_asked_for_each_time(void **state)
{
    struct rig *rig = *state;
    static struct call made;

    unit = "curl.scope";
    start(rig);
    fill_call(rig, &made, 'x');
    made.peer.connection = 0;
    for (int i = 0; i < 3; i++) {
        audit_begun(&made);
        audit_ended(&made, &made.failure);
    }
    json_t *records = finish();

    assert_int_equal(units_asked, 3);
    assert_text(records, 2, "unit", "curl.scope");
    json_decref(records);
}

/* --- what is no call --- */

static void test_leases_and_the_server(void **state)
{
    struct rig *rig = *state;
    const struct audit_lease lease = {.device = {254, 3},
                                      .name = "l",
                                      .uuid = "",
                                      .pid = 77,
                                      .uid = 5,
                                      .outcome = "failed",
                                      .reason = "timeout",
                                      .rc = -EIO,
                                      .ioctl = "DM_DEV_SUSPEND",
                                      .held_ns = 5000};

    start(rig);
    audit_lease_ended(&rig->dispatcher, &lease);
    audit_server(&rig->dispatcher, "configuration", "ok", "/etc/x");
    audit_server(&rig->dispatcher, "stopped", "ok", NULL);
    json_t *records = finish();

    assert_text(records, 0, "kind", "lease_ended");
    assert_text(records, 0, "errno_name", "EIO");
    assert_text(records, 0, "reason", "timeout");
    assert_number(records, 0, "device/minor", 3);
    assert_number(records, 0, "pid", 77);
    assert_number(records, 0, "duration_us", 5);
    assert_none(records, 0, "gid");
    assert_none(records, 0, "uuid");
    assert_int_equal(units_asked, 0); /* that number may be another process by now */
    assert_text(records, 1, "detail", "/etc/x");
    assert_none(records, 1, "pid");
    assert_none(records, 2, "detail");
    json_decref(records);
}

static void test_what_was_lost_bears_the_number_before(void **state)
{
    struct rig *rig = *state;
    struct log_writer writer = audit_writer(&rig->dispatcher.audit, rig->dispatcher.host.instance);

    start(rig);
    audit_server(&rig->dispatcher, "started", "ok", NULL);
    audit_server(&rig->dispatcher, "stopped", "ok", NULL);
    json_decref(finish());
    said_start();
    assert_true(writer.lost(writer.data, 7));
    json_t *record = rig_json(said_end());

    assert_string_equal(rig_string(record, "kind"), "lost");
    assert_int_equal(json_integer_value(rig_at(record, "lost")), 7);
    assert_int_equal(json_integer_value(rig_at(record, "seq")), 2);
    json_decref(record);
}

/* --- journald --- */

static bool has_field(const char *field)
{
    for (size_t i = 0; i < journal.count; i++) {
        if (strcmp(journal.fields[i], field) == 0) {
            return true;
        }
    }
    return false;
}

static void test_the_journal(void **state)
{
    struct rig *rig = *state;

    journal.there = -1;
    start(rig);
    call_as(rig, 12, "table_load", "{\"name\":\"a\",\"targets\":[]}");
    json_decref(finish());
    assert_int_equal(journal.messages, 1);
    assert_true(has_field("MESSAGE=table_load of 'a' by process 0 of user id 12: refused, "
                          "permission_denied"));
    assert_true(has_field("PRIORITY=4"));
    assert_true(has_field("SYSLOG_IDENTIFIER=dmrpcd"));
    assert_true(has_field("MESSAGE_ID=9b3f46b3844b4e4299360cbd6d01c04d"));
    assert_true(has_field("DMRPC_AUDIT=1"));
    assert_true(has_field("DMRPC_METHOD=table_load"));
    assert_true(has_field("DMRPC_NAME=a"));
    assert_true(has_field("DMRPC_UID=12"));
    assert_false(has_field("DMRPC_UNIT="));

    rig_device(rig, "x", NULL);
    start(rig);
    call(rig, "table_load",
         "{\"name\":\"x\",\"flags\":[\"DM_READONLY\",\"DM_SECURE_DATA\"],\"targets\":["
         "{\"start\":0,\"length\":8,\"type\":\"zero\",\"params\":\"\"},"
         "{\"start\":8,\"length\":8,\"type\":\"error\",\"params\":\"\"}]}");
    json_t *records = finish();
    assert_int_equal(json_array_size(records), 0);
    assert_true(has_field("PRIORITY=6"));
    assert_true(has_field("DMRPC_DEVICE_MAJOR=254"));
    assert_true(has_field("DMRPC_DEVICE_MINOR=0"));
    assert_true(has_field("DMRPC_TARGETS=zero"));
    assert_true(has_field("DMRPC_TARGETS=error"));
    assert_true(has_field("DMRPC_FLAGS=DM_READONLY"));
    assert_true(has_field("DMRPC_FLAGS=DM_SECURE_DATA"));
    assert_true(has_field("DMRPC_TARGET_COUNT=2"));
    json_decref(records);
}

/* Better twice than never. */
/* Names are bytes, whoever gave them: one line for people, and members as JSON shows them. */
static void test_the_journal_gets_names_as_they_are_shown(void **state)
{
    struct rig *rig = *state;
    const struct audit_lease lease = {
        .name = "a\n\x1b[1mb\\\xff", .uuid = "u\n\\", .outcome = "resumed", .reason = "timeout"};

    journal.there = -1;
    start(rig);
    audit_lease_ended(&rig->dispatcher, &lease);
    json_decref(finish());

    assert_int_equal(journal.messages, 1);
    assert_true(
        has_field("MESSAGE=lease_ended of 'a\\x0a\\x1b[1mb\\\\xff' (0:0) by process 0 of user "
                  "id 0: resumed, timeout"));
    assert_true(has_field("DMRPC_NAME=a\n\x1b[1mb\\x5c\\xff"));
    assert_true(has_field("DMRPC_UUID=u\n\\"));
    assert_true(has_field("DMRPC_NAME_EXACT=false"));
}

static void test_a_journal_that_fails_or_goes(void **state)
{
    struct rig *rig = *state;

    start(rig);
    journal.there = -1;
    journal.rc = -ECONNREFUSED;
    audit_server(&rig->dispatcher, "started", "ok", NULL);
    json_t *records = finish();
    assert_int_equal(json_array_size(records), 1);
    json_decref(records);

    start(rig);
    journal.rc = 0;
    journal.there = 1;
    audit_server(&rig->dispatcher, "stopped", "ok", NULL);
    records = finish();
    assert_int_equal(json_array_size(records), 1);
    assert_int_equal(journal.messages, 2);
    json_decref(records);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_change_and_a_failure),
        T(test_refusals),
        T(test_a_refusal_of_what_reads),
        T(test_a_refusal_without_a_call),
        T(test_strings_that_are_none_or_too_long),
        T(test_secrets),
        T(test_many_types),
        T(test_the_largest_is_whole),
        T(test_the_largest_fits_the_journal),
        T(test_the_unit_is_asked_for_once),
        T(test_the_unit_of_http_is_asked_for_each_time),
        T(test_leases_and_the_server),
        T(test_what_was_lost_bears_the_number_before),
        T(test_the_journal),
        T(test_the_journal_gets_names_as_they_are_shown),
        T(test_a_journal_that_fails_or_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
