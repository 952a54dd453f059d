/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon with each of its allocations failing in turn, alone or with all that
 * follow. session.c checks of every run that clients get an error or a closed
 * connection, that a new one is served, and that nothing is kept. Here: that a
 * change that was made is never reported as not made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "scarce.h"
#include "session.h"

#define CUT            "\001"
#define CALL(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":\"" id "\",\"method\":" rest "}" CUT
#define ON(device)     "\"params\":{\"name\":\"" device "\"}"

static int setup(void **state)
{
    *state = session_new();
    return 0;
}

static int teardown(void **state)
{
    *state = session_free(*state);
    return 0;
}

static struct session_told run(struct session *session, struct session_plan plan,
                               const char *script)
{
    struct session_told told;

    session_run(session, &plan, (const uint8_t *)script, strlen(script), &told);
    return told;
}

/* --- a little of everything --- */

static const char everything[] = CALL("1", "\"version\"")
    CALL("2", "\"device_create\",\"params\":{\"name\":\"b\",\"uuid\":\"B\"}") CALL(
        "3", "\"table_load\",\"params\":{\"name\":\"b\",\"targets\":[{\"start\":0,\"length\":8,"
             "\"type\":\"linear\",\"params\":\"/dev/sim1 0\"},{\"start\":8,\"length\":8,"
             "\"type\":\"error\",\"params\":\"\"}]}") CALL("4", "\"device_resume\"," ON("b"))
        CALL("5", "\"table_status\"," ON("b")) CALL("6", "\"table_deps\"," ON("b")) CALL(
            "7", "\"list_devices\"") CALL("8", "\"list_versions\"") CALL("9", "\"dev_majors\"")
            CALL("10", "\"server_info\"") CALL("10.5", "\"events_subscribe\"") CALL(
                "11", "\"device_suspend\",\"params\":{\"name\":"
                      "\"b\",\"flags\":[\"DM_SUSPEND\"]}") CALL("12", "\"device_resume\"," ON("b"))
                CALL("13", "\"device_rename\",\"params\":{\"name\":\"b\",\"new_name\":\"c\"}") CALL(
                    "14",
                    "\"target_msg\",\"params\":{\"name\":\"c\",\"message\":\"@stats_create - "
                    "/1\"}") CALL("15",
                                  "\"device_wait\",\"params\":{\"name\":\"c\",\"event_nr\":"
                                  "77}") CALL("16",
                                              "\"device_wait\",\"params\":{\"name\":\"a\","
                                              "\"event_nr\":0}") CALL("17", "\"simulate_"
                                                                            "event\"," ON("a"))
                    CALL("18", "\"simulate_fault_add\",\"params\":{\"ioctl\":\"DM_TABLE_"
                               "LOAD\",\"errno\":12}")
                        CALL(
                            "19",
                            "\"table_load\",\"params\":{\"name\":\"c\",\"targets\":["
                            "]}") "[" CALL("20",
                                           "\"version\"") "," CALL("21",
                                                                   "\"nothing\"") ",7,"
                                                                                  "{\"jsonrpc\":"
                                                                                  "\"2."
                                                                                  "0\",\"method\":"
                                                                                  "\"version\"}"
                                                                                  "]" CUT CALL(
                                                                                      "22",
                                                                                      "\"remove_"
                                                                                      "all\","
                                                                                      "\"params\":{"
                                                                                      "\"confirm\":"
                                                                                      "true}") "{\""
                                                                                               "jso"
                                                                                               "nrp"
                                                                                               "c\""
                                                                                               ":\""
                                                                                               "2."
                                                                                               "0\""
                                                                                               ",\""
                                                                                               "id"
                                                                                               "\":"
                                                                                               "1e4"
                                                                                               "00,"
                                                                                               "\"m"
                                                                                               "eth"
                                                                                               "od"
                                                                                               "\":"
                                                                                               "\"v"
                                                                                               "ers"
                                                                                               "ion"
                                                                                               "\","
                                                                                               "\"p"
                                                                                               "ara"
                                                                                               "ms"
                                                                                               "\":"
                                                                                               "{\""
                                                                                               "x\""
                                                                                               ":1e"
                                                                                               "400"
                                                                                               "}"
                                                                                               "}" CUT
                                                                                               "{\""
                                                                                               "id"
                                                                                               "\":"
                                                                                               "23,"
                                                                                               "\"i"
                                                                                               "d\""
                                                                                               ":24"
                                                                                               "}{"
                                                                                               "\"j"
                                                                                               "son"
                                                                                               "rpc"
                                                                                               "\":"
                                                                                               "}["
                                                                                               "]" CUT
                                                                                               /* Half
                                                                                                  a
                                                                                                  request
                                                                                                  is
                                                                                                  kept;
                                                                                                  the
                                                                                                  other
                                                                                                  half
                                                                                                  is
                                                                                                  the
                                                                                                  last
                                                                                                  that
                                                                                                  is
                                                                                                  read.
                                                                                                */
                                                                                               "{\""
                                                                                               "jso"
                                                                                               "nrp"
                                                                                               "c\""
                                                                                               ":\""
                                                                                               "2."
                                                                                               "0\""
                                                                                               ",\""
                                                                                               "id"
                                                                                               "\":"
                                                                                               "25"
                                                                                               "," CUT
                                                                                               "\"m"
                                                                                               "eth"
                                                                                               "od"
                                                                                               "\":"
                                                                                               "\"r"
                                                                                               "pc."
                                                                                               "dis"
                                                                                               "cov"
                                                                                               "er"
                                                                                               "\""
                                                                                               "}" CUT
                                                                                               "gar"
                                                                                               "bag"
                                                                                               "e";

static void test_each_fails(void **state)
{
    struct session *session = *state;
    struct session_told told;
    size_t count = 0;

    do {
        const struct session_plan plan = {.flags = SESSION_LONG, .passes = count, .failures = 1};
        told = run(session, plan, everything);
        count += told.refused > 0;
    } while (told.refused > 0);
    print_message("%zu allocations\n", count);
    assert_true(count > 200);
}

static void test_all_fail_from(void **state)
{
    struct session *session = *state;
    struct session_told told;
    size_t count = 0;

    do {
        const struct session_plan plan = {.passes = count, .failures = SCARCE_FOREVER};
        told = run(session, plan, everything);
        count++;
    } while (told.refused > 0);
    assert_true(count > 200);
}

/* --- what was done is not denied --- */

struct kernel {
    char text[2048]; /* of all devices, what a change can change */
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void add(struct kernel *kernel, const char *format,
                                                      ...)
{
    va_list args;

    va_start(args, format);
    kernel->length += (size_t)vsnprintf(kernel->text + kernel->length,
                                        sizeof(kernel->text) - kernel->length, format, args);
    va_end(args);
    assert_true(kernel->length < sizeof(kernel->text));
}

static void add_table(struct kernel *kernel, struct dmi *dm, const struct dmi_id *id,
                      uint32_t flags)
{
    struct dmi_table table;

    assert_int_equal(dmi_table_status(dm, id, DMI_STATUS_TABLE | flags, &table), 0);
    for (size_t i = 0; i < table.count; i++) {
        add(kernel, " %s %s", table.targets[i].type, table.targets[i].params);
    }
    dmi_table_done(&table);
}

/* Messages that make regions are seen by a list of those. */
static void add_regions(struct kernel *kernel, struct dmi *dm, const struct dmi_id *id)
{
    struct dmi_message message;

    if (dmi_target_msg(dm, id, 0, "@stats_list", 0, 0, &message) == 0) {
        add(kernel, " regions %s", message.output ? message.output : "");
        dmi_message_done(&message);
    }
}

static void look(void *context, struct dmi *dm)
{
    struct kernel *kernel = context;
    struct dmi_device_list list;

    kernel->length = 0;
    add(kernel, "devices:");
    assert_int_equal(dmi_list_devices(dm, NULL, NULL, &list), 0);
    for (size_t i = 0; i < list.count; i++) {
        const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = list.entries[i].device};
        struct dmi_info info;
        assert_int_equal(dmi_device_status(dm, &id, 0, &info), 0);
        add(kernel, " [%s %s %x %u", info.name, info.uuid, info.flags, info.event_nr);
        add_table(kernel, dm, &id, 0);
        add_table(kernel, dm, &id, DMI_QUERY_INACTIVE_TABLE);
        add_regions(kernel, dm, &id);
        add(kernel, "]");
    }
    dmi_device_list_done(&list);
}

/* The reply to "last", as a string; NULL where there is none. */
static const char *last_reply(const struct session_told *told, char *to, size_t size)
{
    static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":\"last\",";
    const char *at = memmem(told->replies, told->length, head, sizeof(head) - 1);

    if (!at) {
        return NULL;
    }
    const char *end = memchr(at, '\n', told->length - (size_t)(at - told->replies));
    assert_non_null(end);
    (void)snprintf(to, size, "%.*s", (int)(end - at), at);
    return to;
}

/* Does an error own up to the change? */
static bool admits(const char *reply)
{
    return strstr(reply, "was carried out") || strstr(reply, "was made") ||
           strstr(reply, "were removed");
}

/* Does it tell how the device is now? */
static bool tells_state(const char *reply)
{
    return strstr(reply, "\"state\":\"SUSPENDED") || strstr(reply, "\"state\":\"running");
}

static void check(const struct kernel *now, const struct kernel *before, const struct kernel *after,
                  const char *reply)
{
    const bool made = strcmp(now->text, after->text) == 0;

    if (!made) {
        assert_string_equal(now->text, before->text);
    }
    if (!reply) {
        return; /* the connection was closed: the client knows that it knows nothing */
    }
    const bool result = strstr(reply, "\"result\":") != NULL;
    if (!tells_state(reply) && (result || admits(reply)) != made) {
        fail_msg("%s\nalthough the kernel has\n%s", reply, now->text);
    }
}

/* How many allocations a script makes. */
static size_t allocations(struct session *session, const char *script)
{
    size_t low = 0;
    size_t high = 65536;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct session_plan plan = {.passes = middle, .failures = 1};
        if (run(session, plan, script).refused > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct trial {
    struct session *session;
    const char *script;
    struct kernel before, after;
};

static void trial_init(struct trial *trial, struct session *session, const char *prepare,
                       const char *script)
{
    trial->session = session;
    trial->script = script;
    (void)run(session, (struct session_plan){.inspect = look, .context = &trial->before}, prepare);
    (void)run(session, (struct session_plan){.inspect = look, .context = &trial->after}, script);
    assert_string_not_equal(trial->before.text, trial->after.text);
}

/* True where an allocation failed. */
static bool trial_run(struct trial *trial, size_t passes, size_t failures)
{
    static struct kernel now;
    static char reply[4096];
    const struct session_plan plan = {
        .passes = passes, .failures = failures, .inspect = look, .context = &now};
    struct session_told told = run(trial->session, plan, trial->script);

    check(&now, &trial->before, &trial->after, last_reply(&told, reply, sizeof(reply)));
    return told.refused > 0;
}

/* Each allocation of the change fails, alone, with some that follow, and with all. */
static void try_all(struct session *session, const char *prepare, const char *change)
{
    static const size_t failures[] = {1, 2, 3, SCARCE_FOREVER};
    static struct trial trial;
    char script[2048];

    (void)snprintf(script, sizeof(script), "%s%s", prepare, change);
    trial_init(&trial, session, prepare, script);
    size_t first = allocations(session, prepare);
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        size_t at = first;
        while (trial_run(&trial, at, failures[i])) {
            at++;
        }
        assert_true(at > first + 1);
    }
}

#define LOAD(id, device)                                                                           \
    CALL(id, "\"table_load\",\"params\":{\"name\":\"" device "\",\"targets\":[{\"start\":0,"       \
             "\"length\":8,\"type\":\"linear\",\"params\":\"/dev/sim1 8\"}]}")

static void test_changes(void **state)
{
    static const struct {
        const char *prepare, *change;
    } changes[] = {
        {"", CALL("last", "\"device_create\",\"params\":{\"name\":\"b\",\"uuid\":\"B\"}")},
        {"", LOAD("last", "a")},
        {LOAD("1", "a"), CALL("last", "\"device_resume\"," ON("a"))},
        {LOAD("1", "a"), CALL("last", "\"table_clear\"," ON("a"))},
        {"",
         CALL("last", "\"device_suspend\",\"params\":{\"name\":\"a\",\"flags\":[\"DM_SUSPEND\"]}")},
        {"", CALL("last", "\"device_rename\",\"params\":{\"name\":\"a\",\"new_name\":\"b\"}")},
        {CALL("1", "\"device_create\"," ON("b")),
         CALL("last", "\"device_set_uuid\",\"params\":{\"name\":\"b\",\"uuid\":\"B\"}")},
        {"", CALL("last", "\"device_remove\"," ON("a"))},
        {CALL("1", "\"device_create\"," ON("b")),
         CALL("last", "\"remove_all\",\"params\":{\"confirm\":true}")},
        {"", CALL("last", "\"target_msg\",\"params\":{\"name\":\"a\",\"message\":\"@stats_create - "
                          "/1\"}")},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        print_message("%s\n", changes[i].change);
        try_all(*state, changes[i].prepare, changes[i].change);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_fails),
        cmocka_unit_test(test_all_fail_from),
        cmocka_unit_test(test_changes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
