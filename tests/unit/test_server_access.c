/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of access.c. */
#include "server_ask.h"

#include <errno.h>
#include <string.h>

#include "access.h"

enum { SOMEBODY = 1000, OTHER = 1001, GROUP = 2000, EFFECTS = 7 };

/* --- one question --- */

static const struct rule_who somebody[] = {{RULE_UID, SOMEBODY}};
static const struct rule_who group[] = {{RULE_GID, GROUP}};
static const struct rule_glob by_name[] = {{RULE_BY_NAME, "own-*"}};
static const struct rule_glob by_uuid[] = {{RULE_BY_UUID, "OWN-*"}};

/* SOMEBODY may do all with names own-*, and what GROUP may with uuids OWN-*: write. */
static struct rules *some_rules(void)
{
    const struct rule rules[] = {
        {.name = "names",
         .who = somebody,
         .who_count = 1,
         .effects = EFFECTS,
         .devices = by_name,
         .devices_count = 1},
        {.name = "uuids",
         .who = group,
         .who_count = 1,
         .effects = 1U << EFFECT_WRITE,
         .devices = by_uuid,
         .devices_count = 1},
    };
    struct rules *made = NULL;

    assert_int_equal(rules_new(rules, 2, true, &made), 0);
    return made;
}

struct ask_case {
    const char *method;
    struct dmi_id device;
    const char *new_name, *new_uuid;
    enum rules_match match;
    int rule;
    const char *told; /* allowed: the name or uuid that the kernel is told; denied: on what */
};

#define NAME(value)                                                                                \
    {                                                                                              \
        .kind = DMI_BY_NAME, .name = (value)                                                       \
    }
#define UUID(value)                                                                                \
    {                                                                                              \
        .kind = DMI_BY_UUID, .uuid = (value)                                                       \
    }

static const struct ask_case cases[] = {
    {"device_remove", NAME("own-1"), NULL, NULL, RULES_BY_NAME, 0, "own-1"},
    {"device_remove", NAME("own-missing"), NULL, NULL, RULES_BY_NAME, 0, "own-missing"},
    {"device_remove", UUID("X-1"), NULL, NULL, RULES_BY_NAME, 0, "own-1"},
    {"device_remove", NAME("other-2"), NULL, NULL, RULES_BY_UUID, 1, "OWN-2"},
    {"device_remove", UUID("OWN-2"), NULL, NULL, RULES_BY_UUID, 1, "OWN-2"},
    {"device_remove", UUID("OWN-missing"), NULL, NULL, RULES_BY_UUID, 1, "OWN-missing"},
    {"device_remove", NAME("other-3"), NULL, NULL, RULES_DENIED, -1, "device 'other-3'"},
    {"device_remove", NAME("missing"), NULL, NULL, RULES_DENIED, -1, "device 'missing'"},
    {"device_remove", UUID("X-3"), NULL, NULL, RULES_DENIED, -1, "the device with uuid 'X-3'"},
    {"device_status", NAME("other-2"), NULL, NULL, RULES_DENIED, -1, "device 'other-2'"},
    {"device_rename", NAME("own-1"), "own-9", NULL, RULES_BY_NAME, 0, "own-1"},
    {"device_rename", NAME("own-1"), "other-9", NULL, RULES_DENIED, -1, "the new name 'other-9'"},
    {"device_rename", NAME("other-2"), "own-9", NULL, RULES_DENIED, -1, "device 'other-2'"},
    {"device_rename", NAME("missing"), "own-9", NULL, RULES_DENIED, -1, "device 'missing'"},
    {"device_set_uuid", NAME("own-1"), NULL, "OWN-9", RULES_BY_NAME, 0, "own-1"},
    {"device_set_uuid", NAME("own-1"), NULL, "X-9", RULES_DENIED, -1, "the uuid 'X-9'"},
    {"device_create", NAME("own-9"), NULL, NULL, RULES_BY_NAME, 0, "own-9"},
    {"device_create", NAME("own-9"), NULL, "OWN-9", RULES_BY_NAME, 0, "own-9"},
    {"device_create", NAME("own-9"), NULL, "X-9", RULES_DENIED, -1, "the uuid 'X-9'"},
    {"device_create", NAME("other-9"), NULL, "OWN-9", RULES_DENIED, -1, "device 'other-9'"},
};

static void assert_answer(struct dmi *dm, const struct access_question *question,
                          const struct ask_case *wanted)
{
    struct access_answer answer;

    assert_int_equal(access_ask(dm, question, &answer), 0);
    assert_int_equal(answer.by.match, wanted->match);
    assert_int_equal(answer.by.rule, wanted->rule);
    if (wanted->match == RULES_DENIED) {
        assert_string_equal(answer.what, wanted->told);
    } else {
        assert_int_equal(answer.id.kind,
                         wanted->match == RULES_BY_NAME ? DMI_BY_NAME : DMI_BY_UUID);
        assert_string_equal(answer.id.name, wanted->told);
    }
}

static void test_questions(void **state)
{
    const gid_t groups[] = {5, GROUP};
    struct rules *rules = some_rules();
    struct rig rig;
    struct dmi dm;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "own-1", "X-1");
    rig_device(&rig, "other-2", "OWN-2");
    rig_device(&rig, "other-3", "X-3");
    dmi_init(&dm, rig.dispatcher.host.transport);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct access_question question = {
            .rules = rules,
            .who = {.uid = SOMEBODY, .gid = 5, .groups = groups, .groups_count = 2},
            .method = method_find(cases[i].method),
            .device = &cases[i].device,
            .new_name = cases[i].new_name,
            .new_uuid = cases[i].new_uuid,
        };
        assert_answer(&dm, &question, &cases[i]);
    }
    rig_done(&rig);
    (void)rules_unref(rules);
}

/* What no rule lets a caller do to anything, the kernel is not asked about. */
static void test_no_look(void **state)
{
    const struct dmi_id device = NAME("other-2");
    struct rules *rules = some_rules();
    struct access_answer answer;
    struct rig rig;
    struct dmi dm;

    (void)state;
    rig_init(&rig);
    rig_fault(&rig, DMI_DEV_STATUS, EIO, 0);
    dmi_init(&dm, rig.dispatcher.host.transport);
    struct access_question question = {.rules = rules,
                                       .who = {.uid = OTHER},
                                       .method = method_find("device_status"),
                                       .device = &device};
    assert_int_equal(access_ask(&dm, &question, &answer), 0);
    assert_int_equal(answer.by.match, RULES_DENIED);
    question.who.uid = SOMEBODY;
    assert_int_equal(access_ask(&dm, &question, &answer), -EIO);
    rig_done(&rig);
    (void)rules_unref(rules);
}

/* All devices: a right to some is none to them. */
static void test_all(void **state)
{
    struct rules *rules = some_rules();
    struct rules *builtin = NULL;
    struct access_answer answer;
    struct dmi dm = {0};
    struct access_question question = {
        .rules = rules, .who = {.uid = SOMEBODY}, .method = method_find("remove_all")};

    (void)state;
    assert_int_equal(access_ask(&dm, &question, &answer), 0);
    assert_int_equal(answer.by.match, RULES_DENIED);
    question.method = method_find("list_devices");
    assert_int_equal(access_ask(&dm, &question, &answer), 0);
    assert_int_equal(answer.by.match, RULES_ALL);
    assert_int_equal(rules_new_builtin(SOMEBODY, &builtin), 0);
    question.rules = builtin;
    question.method = method_find("remove_all");
    assert_int_equal(access_ask(&dm, &question, &answer), 0);
    assert_int_equal(answer.by.match, RULES_ALL);
    (void)rules_unref(builtin);
    (void)rules_unref(rules);
}

/* --- what is seen --- */

static void test_sees(void **state)
{
    const struct peer peer = {.uid = SOMEBODY};
    const struct peer other = {.uid = OTHER};
    const struct method *list = method_find("list_devices");
    struct rules *rules = some_rules();

    (void)state;
    assert_true(access_allows(rules, &peer, "list_devices"));
    assert_false(access_allows(rules, &other, "list_devices"));
    assert_true(access_sees(rules, &peer, list, "own-1", NULL));
    assert_true(access_sees(rules, &peer, list, "own-1", ""));
    assert_false(access_sees(rules, &peer, list, "other", "OWN-1"));
    assert_false(access_sees(rules, &peer, list, NULL, NULL));
    assert_false(access_sees(rules, &other, list, "own-1", NULL));
    (void)rules_unref(rules);
}

/* --- calls --- */

static void assert_asked(struct rig *rig, uid_t uid, const char *method, const char *params,
                         const char *error)
{
    struct asked asked;

    if (!ask_how(rig, &asked, method, params, (struct ask_how){.uid = uid})) {
        ask_wait(rig, &asked);
    }
    assert_string_equal(rig_string(asked.reply, "error/data/error"), error);
    ask_done(&asked);
}

static void assert_rights(struct call *call, struct dmi_id by, bool writes, bool shows)
{
    call->by = by;
    assert_int_equal(access_may_write(call), writes);
    assert_int_equal(access_may_show_keys(call), shows);
}

/* What the caller may do besides, with the device by the name that the kernel is told. */
static void test_rights(void **state)
{
    static const char *const read[] = {"table_status"};
    const struct rule rules[] = {
        {.who = somebody,
         .who_count = 1,
         .methods = read,
         .methods_count = 1,
         .show_keys = true,
         .devices = by_name,
         .devices_count = 1},
        {.who = somebody,
         .who_count = 1,
         .effects = 1U << EFFECT_WRITE,
         .devices = by_uuid,
         .devices_count = 1},
        {.who = somebody, .who_count = 1, .effects = 1U << EFFECT_READ},
    };
    struct call call = {.peer = {.uid = SOMEBODY}, .method = method_find("table_status")};

    (void)state;
    assert_int_equal(rules_new(rules, 3, true, &call.rules), 0);
    assert_rights(&call, (struct dmi_id)NAME("own-1"), false, true);
    assert_rights(&call, (struct dmi_id)UUID("OWN-1"), true, false);
    assert_rights(&call, (struct dmi_id)NAME("x"), false, false);
    assert_rights(&call, (struct dmi_id){.kind = DMI_BY_DEVICE}, false, false);
    call_done(&call);
    assert_int_equal(rules_new_builtin(SOMEBODY, &call.rules), 0);
    assert_rights(&call, (struct dmi_id){.kind = DMI_BY_DEVICE}, true, true);
    call.peer.uid = OTHER;
    assert_rights(&call, (struct dmi_id)NAME("own-1"), false, false);
    call_done(&call);
}

/* Other rules count from the next call on; a reference is taken, and no more. */
static void test_set_rules(void **state)
{
    struct rules *rules = some_rules();
    struct rig rig;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "own-1", NULL);
    rig_device(&rig, "other-3", NULL);
    assert_asked(&rig, SOMEBODY, "device_status", "{\"name\":\"other-3\"}", "(none)");
    dispatcher_set_rules(&rig.dispatcher, rules_ref(rules));
    assert_asked(&rig, SOMEBODY, "device_status", "{\"name\":\"own-1\"}", "(none)");
    assert_asked(&rig, SOMEBODY, "device_status", "{\"name\":\"other-3\"}", "permission_denied");
    assert_asked(&rig, SOMEBODY, "device_status", "{\"name\":\"none\"}", "permission_denied");
    assert_asked(&rig, SOMEBODY, "device_status", "{\"name\":\"own-2\"}", "device_not_found");
    assert_asked(&rig, OTHER, "device_status", "{\"name\":\"own-1\"}", "permission_denied");
    assert_asked(&rig, 0, "version", NULL, "permission_denied");
    (void)rules_unref(rules);
    assert_asked(&rig, SOMEBODY, "table_clear", "{\"name\":\"own-1\"}", "(none)");
    rig_done(&rig);
}

/* The wait goes on by number, and is judged by the name that the device has then. */
static void test_wait_is_judged_again(void **state)
{
    struct rules *rules = some_rules();
    struct rules *nothing = NULL;
    struct asked stays;
    struct asked goes;
    struct rig rig;

    (void)state;
    assert_int_equal(rules_new(NULL, 0, true, &nothing), 0);
    rig_init(&rig);
    rig_device(&rig, "own-1", NULL);
    rig_device(&rig, "other-3", NULL);
    assert_false(ask_how(&rig, &stays, "device_wait", "{\"name\":\"own-1\",\"event_nr\":0}",
                         (struct ask_how){.uid = SOMEBODY}));
    assert_false(ask_how(&rig, &goes, "device_wait", "{\"name\":\"other-3\",\"event_nr\":0}",
                         (struct ask_how){.uid = SOMEBODY}));
    dispatcher_set_rules(&rig.dispatcher, rules_ref(rules));
    ask_wait(&rig, &goes);
    assert_error(goes.reply, 6, "permission_denied");
    assert_int_equal(waits_count(rig.dispatcher.waits), 1);
    rig_rename(&rig, "own-1", "hidden-1"); /* an event, too */
    ask_wait(&rig, &stays);
    assert_error(stays.reply, 6, "permission_denied");
    dispatcher_set_rules(&rig.dispatcher, rules_ref(nothing));
    ask_done(&goes);
    ask_done(&stays);
    rig_done(&rig);
    (void)rules_unref(nothing);
    (void)rules_unref(rules);
}

/* --- what tables lie on --- */

static void add_disk(struct rig *rig, const char *path, uint32_t minor)
{
    struct dmi_sim_disk disk = {.device = {259, minor}, .sectors = 64};

    (void)strcpy(disk.path, path);
    assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, NULL), 0);
}

static bool has_inactive(struct rig *rig, const char *name)
{
    const struct dmi_id id = NAME(name);
    struct dmi_info info;
    struct dmi dm;

    dmi_init(&dm, rig->dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &id, 0, &info), 0);
    return info.flags & DMI_INACTIVE_PRESENT;
}

static const char load_line[] = "{\"name\":\"own-1\",\"targets\":[{\"start\":0,\"length\":8,"
                                "\"type\":\"linear\",\"params\":\"/dev/moving 0\"}]}";

/* A path that was allowed leads to another disk by the time of the load. */
static void load_while_it_moves(struct rig *rig, struct asked *asked, const char *method)
{
    const struct dmi_device before = {259, 1};
    uint64_t held = rig_hold(rig, DMI_TABLE_LOAD, "own-1");

    add_disk(rig, "/dev/moving", 1);
    assert_false(ask_how(rig, asked, method, load_line, (struct ask_how){.uid = SOMEBODY}));
    rig_until_held(rig, held, 1);
    assert_int_equal(dmi_sim_disk_remove(rig->sim, before), 0);
    add_disk(rig, "/dev/moving", 2);
    rig_release(rig, held);
    ask_wait(rig, asked);
    assert_error(asked->reply, 6, "permission_denied");
    assert_non_null(strstr(rig_string(asked->reply, "error/message"), "259:2"));
}

static void test_loaded_elsewhere(void **state)
{
    static const char *const under[] = {"259:1"};
    const struct rule rule = {.who = somebody,
                              .who_count = 1,
                              .effects = EFFECTS,
                              .devices = by_name,
                              .devices_count = 1,
                              .under = under,
                              .under_count = 1};
    static const char *const methods[] = {"table_load", "table_swap"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rules *rules = NULL;
        struct asked asked;
        struct rig rig;

        rig_init(&rig);
        assert_int_equal(rules_new(&rule, 1, true, &rules), 0);
        dispatcher_set_rules(&rig.dispatcher, rules);
        rig_device(&rig, "own-1", NULL);
        load_while_it_moves(&rig, &asked, methods[i]);
        assert_non_null(strstr(rig_string(asked.reply, "error/data/state"), "was cleared"));
        assert_false(has_inactive(&rig, "own-1"));
        ask_done(&asked);
        rig_done(&rig);
    }
}

/* The worst: what may not be there cannot be taken away. That is said. */
static void test_loaded_elsewhere_for_good(void **state)
{
    static const char *const under[] = {"259:1"};
    const struct rule rule = {
        .who = somebody, .who_count = 1, .effects = EFFECTS, .under = under, .under_count = 1};
    static const enum dmi_ioctl faults[] = {DMI_TABLE_CLEAR, DMI_TABLE_DEPS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rules *rules = NULL;
        struct asked asked;
        struct rig rig;
        bool clears = faults[i] == DMI_TABLE_DEPS;

        rig_init(&rig);
        assert_int_equal(rules_new(&rule, 1, true, &rules), 0);
        dispatcher_set_rules(&rig.dispatcher, rules);
        rig_device(&rig, "own-1", NULL);
        rig_fault(&rig, faults[i], EIO, 1);
        if (clears) {
            add_disk(&rig, "/dev/moving", 1);
            assert_false(
                ask_how(&rig, &asked, "table_load", load_line, (struct ask_how){.uid = SOMEBODY}));
            ask_wait(&rig, &asked);
            assert_error(asked.reply, 14, "kernel_error");
        } else {
            load_while_it_moves(&rig, &asked, "table_load");
        }
        assert_non_null(strstr(rig_string(asked.reply, "error/data/state"),
                               clears ? "was cleared" : "STILL LOADED"));
        assert_int_equal(has_inactive(&rig, "own-1"), !clears);
        ask_done(&asked);
        rig_done(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_no_look),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_sees),
        cmocka_unit_test(test_set_rules),
        cmocka_unit_test(test_wait_is_judged_again),
        cmocka_unit_test(test_loaded_elsewhere),
        cmocka_unit_test(test_loaded_elsewhere_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
