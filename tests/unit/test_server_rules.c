/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of rules.c: who, what and which, row by row. */
#include "server_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rules.h"

#define COUNT(array)      (sizeof(array) / sizeof((array)[0]))
#define WHO(...)          .who = (const struct rule_who[]){__VA_ARGS__}, .who_count = 1
#define TWO(...)          .who = (const struct rule_who[]){__VA_ARGS__}, .who_count = 2
#define ON(count, ...)    .devices = (const struct rule_glob[]){__VA_ARGS__}, .devices_count = (count)
#define CALLS(count, ...) .methods = (const char *const[]){__VA_ARGS__}, .methods_count = (count)
#define UNDER(count, ...) .under = (const char *const[]){__VA_ARGS__}, .under_count = (count)

enum { READ = 1 << EFFECT_READ, WRITE = 1 << EFFECT_WRITE, ADMIN = 1 << EFFECT_ADMIN };

/* Their numbers are what the rows below expect. */
static const struct rule given[] = {
    [0] = {.name = "reads all", WHO({RULE_UID, 100}), .effects = READ},
    [1] = {.name = "by name",
           WHO({RULE_UID, 101}),
           .effects = WRITE,
           ON(1, {RULE_BY_NAME, "app-*"})},
    [2] = {.name = "by uuid",
           WHO({RULE_UID, 101}),
           .effects = WRITE,
           ON(1, {RULE_BY_UUID, "APP-*"})},
    [3] = {.name = "a group's methods",
           WHO({RULE_GID, 200}),
           CALLS(2, "device_resume", "device_suspend"),
           ON(1, {RULE_BY_NAME, "vg-*"})},
    [4] = {.name = "anybody", WHO({RULE_ANY, 0}), CALLS(1, "version")},
    [5] = {.name = "root", WHO({RULE_UID, 0}), .effects = READ | WRITE | ADMIN},
    [6] = {.name = "both",
           TWO({RULE_UID, 102}, {RULE_GID, 202}),
           .effects = WRITE,
           ON(2, {RULE_BY_UUID, "X-*"}, {RULE_BY_NAME, "x"})},
    [7] = {.name = "least", WHO({RULE_UID, 103}), .effects = READ, ON(1, {RULE_BY_UUID, "*"})},
    [8] = {.name = "better", WHO({RULE_UID, 103}), .effects = READ, ON(1, {RULE_BY_NAME, "*"})},
    [9] = {.name = "best", WHO({RULE_UID, 103}), CALLS(1, "table_status")},
    [10] = {.name = "no keys", WHO({RULE_UID, 104}), .effects = READ},
    [11] = {.name = "keys",
            WHO({RULE_UID, 104}),
            CALLS(1, "table_status"),
            ON(1, {RULE_BY_NAME, "k-*"}),
            .show_keys = true},
    [12] = {.name = "globs",
            WHO({RULE_UID, 105}),
            .effects = READ,
            ON(3, {RULE_BY_NAME, "[ab]-?"}, {RULE_BY_NAME, "star\\*"}, {RULE_BY_UUID, "U?"})},
    [13] = {.name = "pool",
            WHO({RULE_UID, 106}),
            .effects = WRITE,
            ON(1, {RULE_BY_NAME, "app-*"}),
            UNDER(2, "/dev/mapper/pool-*", "8:*")},
    [14] = {.name = "free", WHO({RULE_UID, 106}), .effects = WRITE, ON(1, {RULE_BY_NAME, "free"})},
    [15] = {.name = "one",
            WHO({RULE_UID, 106}),
            CALLS(1, "table_load"),
            ON(1, {RULE_BY_UUID, "U-*"}),
            UNDER(1, "9:0")},
    [16] = {.name = "admin alone", WHO({RULE_UID, 107}), .effects = ADMIN},
    [17] = {.name = "nobody's method", WHO({RULE_UID, 108}), CALLS(1, "no_such_method")},
    [18] = {.name = "nothing", WHO({RULE_UID, 109})},
};

static struct rules *make(void)
{
    struct rules *rules;

    assert_int_equal(rules_new(given, COUNT(given), true, &rules), 0);
    return rules;
}

static const struct method *method_of(const char *name)
{
    const struct method *method = method_find(name);

    if (!method) {
        fail_msg("there is no method %s", name);
    }
    return method;
}

/* --- a device --- */

struct row {
    uid_t uid;
    gid_t gid;
    gid_t extra; /* a supplementary group; 0: none */
    const char *method;
    const char *name, *uuid; /* NULL: not known */
    enum rules_match match;
    int rule;
};

#define NO         RULES_DENIED, RULES_NO_RULE
#define ALL(rule)  RULES_ALL, rule
#define NAME(rule) RULES_BY_NAME, rule
#define UUID(rule) RULES_BY_UUID, rule

static const struct row rows[] = {
    /* one user, one effect, all devices */
    {100, 1, 0, "device_status", "a", "A", ALL(0)},
    {100, 1, 0, "device_status", "a", NULL, ALL(0)},
    {100, 1, 0, "device_status", NULL, "A", ALL(0)},
    {100, 1, 0, "device_status", NULL, NULL, ALL(0)},
    {100, 1, 0, "device_status", "", "", ALL(0)},
    {100, 1, 0, "table_status", "a", "A", ALL(0)},
    {100, 1, 0, "device_wait", "a", "A", ALL(0)},
    {100, 1, 0, "table_deps", "a", "A", ALL(0)},
    {100, 1, 0, "device_resume", "a", "A", NO},
    {100, 1, 0, "table_load", "a", "A", NO},
    {100, 1, 0, "remove_all", "a", "A", NO},
    {100, 1, 0, "version", "a", "A", ALL(0)},
    {1, 100, 0, "device_status", "a", "A", NO}, /* a group is no user */
    {1, 1, 100, "device_status", "a", "A", NO},
    {99, 1, 0, "device_status", "a", "A", NO},
    {(uid_t)-1, (gid_t)-1, 0, "device_status", "a", "A", NO},
    /* by name, by uuid */
    {101, 1, 0, "device_remove", "app-1", NULL, NAME(1)},
    {101, 1, 0, "device_remove", "app-1", "", NAME(1)},
    {101, 1, 0, "device_remove", "app-1", "OTHER", NAME(1)},
    {101, 1, 0, "device_remove", "app-1", "APP-1", NAME(1)},
    {101, 1, 0, "device_remove", "other", "APP-1", UUID(2)},
    {101, 1, 0, "device_remove", NULL, "APP-1", UUID(2)},
    {101, 1, 0, "device_remove", "", "APP-", UUID(2)},
    {101, 1, 0, "device_remove", "app-", NULL, NAME(1)},
    {101, 1, 0, "device_remove", "app", NULL, NO},
    {101, 1, 0, "device_remove", "xapp-1", NULL, NO},
    {101, 1, 0, "device_remove", "APP-1", NULL, NO}, /* a uuid's glob is not a name's */
    {101, 1, 0, "device_remove", NULL, "app-1", NO},
    {101, 1, 0, "device_remove", "App-1", "app-1", NO}, /* case counts */
    {101, 1, 0, "device_remove", NULL, NULL, NO},
    {101, 1, 0, "device_remove", "", "", NO},
    {101, 1, 0, "device_remove", "app-/x", NULL, NAME(1)}, /* of a name a * takes all */
    {101, 1, 0, "device_remove", "app-.x", NULL, NAME(1)},
    {101, 1, 0, "device_status", "app-1", "APP-1", NO}, /* who writes need not read */
    {101, 1, 0, "remove_all", "app-1", "APP-1", NO},
    {101, 1, 0, "target_msg", "app-1", NULL, NAME(1)},
    {101, 1, 0, "device_create", "app-1", NULL, NAME(1)},
    {101, 1, 0, "device_rename", "app-1", NULL, NAME(1)},
    /* groups */
    {1, 200, 0, "device_resume", "vg-a", NULL, NAME(3)},
    {1, 1, 200, "device_resume", "vg-a", NULL, NAME(3)},
    {1, 1, 200, "device_suspend", "vg-a", NULL, NAME(3)},
    {1, 1, 201, "device_resume", "vg-a", NULL, NO},
    {1, 201, 0, "device_resume", "vg-a", NULL, NO},
    {200, 1, 0, "device_resume", "vg-a", NULL, NO}, /* a user is no group */
    {1, 200, 0, "device_remove", "vg-a", NULL, NO}, /* another method */
    {1, 200, 0, "device_resume", "vh-a", NULL, NO},
    {1, 200, 0, "device_resume", NULL, "vg-a", NO},
    {100, 200, 0, "device_resume", "vg-a", NULL, NAME(3)}, /* rules add to each other */
    {100, 200, 0, "device_status", "vg-a", NULL, ALL(0)},
    {101, 1, 200, "device_resume", "app-1", NULL, NAME(1)},
    {101, 1, 200, "device_resume", "vg-1", NULL, NAME(3)},
    /* anybody */
    {1, 1, 0, "version", NULL, NULL, ALL(4)},
    {55, 66, 77, "version", "a", "A", ALL(4)},
    {(uid_t)-1, (gid_t)-1, 0, "version", NULL, NULL, ALL(4)},
    {1, 1, 0, "list_versions", NULL, NULL, NO},
    {1, 1, 0, "server_info", NULL, NULL, NO},
    {100, 1, 0, "version", NULL, NULL, ALL(0)}, /* the first that allows it */
    /* root has what a rule gives him */
    {0, 0, 0, "device_status", "a", "A", ALL(5)},
    {0, 0, 0, "device_remove", "a", "A", ALL(5)},
    {0, 0, 0, "remove_all", NULL, NULL, ALL(5)},
    {0, 0, 0, "version", NULL, NULL, ALL(4)},
    {1, 0, 0, "device_status", "a", "A", NO}, /* the group of number 0 is not he */
    {1, 0, 0, "remove_all", NULL, NULL, NO},
    /* several who, several globs */
    {102, 1, 0, "device_remove", "x", "X-1", NAME(6)}, /* the name, though it stands behind */
    {102, 1, 0, "device_remove", "y", "X-1", UUID(6)},
    {102, 1, 0, "device_remove", "x", NULL, NAME(6)},
    {102, 1, 0, "device_remove", "y", "Y-1", NO},
    {1, 202, 0, "device_remove", "x", NULL, NAME(6)},
    {1, 1, 202, "device_remove", NULL, "X-1", UUID(6)},
    {1, 102, 0, "device_remove", "x", NULL, NO},
    {202, 1, 0, "device_remove", "x", NULL, NO},
    /* all before name before uuid, whatever the order of rules */
    {103, 1, 0, "device_status", "a", "A", NAME(8)},
    {103, 1, 0, "device_status", NULL, "A", UUID(7)},
    {103, 1, 0, "device_status", "a", NULL, NAME(8)},
    {103, 1, 0, "device_status", NULL, NULL, NO},
    {103, 1, 0, "table_status", "a", "A", ALL(9)},
    {103, 1, 0, "table_status", NULL, "A", ALL(9)},
    {103, 1, 0, "table_status", NULL, NULL, ALL(9)},
    {103, 1, 0, "table_deps", "a", "A", NAME(8)},
    /* globs */
    {105, 1, 0, "device_status", "a-1", NULL, NAME(12)},
    {105, 1, 0, "device_status", "b-x", NULL, NAME(12)},
    {105, 1, 0, "device_status", "c-1", NULL, NO},
    {105, 1, 0, "device_status", "a-", NULL, NO},
    {105, 1, 0, "device_status", "a-12", NULL, NO},
    {105, 1, 0, "device_status", "star*", NULL, NAME(12)},
    {105, 1, 0, "device_status", "starx", NULL, NO},
    {105, 1, 0, "device_status", "star\\*", NULL, NO},
    {105, 1, 0, "device_status", NULL, "U1", UUID(12)},
    {105, 1, 0, "device_status", NULL, "U", NO},
    {105, 1, 0, "device_status", NULL, "U12", NO},
    {105, 1, 0, "device_status", "a-1", "U1", NAME(12)},
    /* effects do not include one another; what is not there allows nothing */
    {107, 1, 0, "remove_all", NULL, NULL, ALL(16)},
    {107, 1, 0, "device_remove", "a", NULL, NO},
    {107, 1, 0, "device_status", "a", NULL, NO},
    {108, 1, 0, "device_status", "a", NULL, NO},
    {108, 1, 0, "version", "a", NULL, ALL(4)},
    {109, 1, 0, "device_status", "a", NULL, NO},
    {109, 1, 0, "remove_all", NULL, NULL, NO},
    /* what a table lies on does not matter to other calls */
    {106, 1, 0, "device_remove", "app-1", NULL, NAME(13)},
    {106, 1, 0, "table_load", "app-1", NULL, NAME(13)},
    {106, 1, 0, "table_load", "free", NULL, NAME(14)},
    {106, 1, 0, "table_load", "x", "U-1", UUID(15)},
    {106, 1, 0, "table_swap", "x", "U-1", NO},
    {106, 1, 0, "table_load", "app-1", "U-1", NAME(13)},
    /* keys do not matter to who may read */
    {104, 1, 0, "table_status", "k-1", NULL, ALL(10)},
    {104, 1, 0, "table_status", "a", NULL, ALL(10)},
    {104, 1, 0, "table_load", "k-1", NULL, NO},
};

static struct rules_device device_of(const char *name, const char *uuid)
{
    return (struct rules_device){.name = name, .uuid = uuid};
}

static struct rules_who who_of(uid_t uid, gid_t gid, const gid_t *extra)
{
    return (struct rules_who){
        .uid = uid, .gid = gid, .groups = extra, .groups_count = *extra ? 1 : 0};
}

static void test_devices(void **state)
{
    struct rules *rules = make();

    (void)state;
    assert_true(COUNT(rows) >= 100);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct row *row = &rows[i];
        const struct rules_who who = who_of(row->uid, row->gid, &row->extra);
        const struct method *method = method_of(row->method);
        struct rules_answer answer =
            rules_device(rules, &who, method, device_of(row->name, row->uuid));
        if (answer.match != row->match || answer.rule != row->rule) {
            fail_msg("row %zu (%u %u %u %s %s %s): %d by %d", i, row->uid, row->gid, row->extra,
                     row->method, row->name, row->uuid, answer.match, answer.rule);
        }
        /* What is allowed on one device is allowed at all; what is on all, on each. */
        struct rules_answer any = rules_any(rules, &who, method);
        struct rules_answer all = rules_all(rules, &who, method);
        assert_true(answer.match == RULES_DENIED || any.match != RULES_DENIED);
        assert_int_equal(all.match == RULES_ALL, answer.match == RULES_ALL);
        assert_int_equal(all.match == RULES_ALL ? all.rule : -1,
                         answer.match == RULES_ALL ? answer.rule : -1);
    }
    (void)rules_unref(rules);
}

/* Of many groups each counts. */
static void test_supplementary(void **state)
{
    struct rules *rules = make();
    const struct method *method = method_of("device_resume");
    gid_t groups[] = {10, 11, 12, 13};
    const struct rules_who who = {.uid = 1, .gid = 1, .groups = groups, .groups_count = 4};

    (void)state;
    assert_int_equal(rules_device(rules, &who, method, device_of("vg-1", NULL)).match,
                     RULES_DENIED);
    for (size_t i = 0; i < COUNT(groups); i++) {
        gid_t before = groups[i];
        groups[i] = 200;
        assert_int_equal(rules_device(rules, &who, method, device_of("vg-1", NULL)).rule, 3);
        groups[i] = before;
    }
    (void)rules_unref(rules);
}

/* --- under --- */

struct under_row {
    const char *method, *name, *uuid;
    const char *names[3];
    int rule;
};

static const struct under_row under_rows[] = {
    {"table_load", "app-1", NULL, {"8:0", "/dev/sda"}, 13},
    {"table_load", "app-1", NULL, {"254:1", "/dev/dm-1", "/dev/mapper/pool-a"}, 13},
    {"table_swap", "app-1", NULL, {"8:0"}, 13},
    {"table_load", "app-1", NULL, {"/dev/mapper/pool-a"}, 13},
    {"table_load", "app-1", NULL, {"254:1", "/dev/mapper/vg"}, RULES_NO_RULE},
    {"table_load", "app-1", NULL, {"18:0"}, RULES_NO_RULE},
    {"table_load", "app-1", NULL, {"/dev/mapper/pool-a/b"}, RULES_NO_RULE}, /* no slash */
    {"table_load", "app-1", NULL, {"9:0"}, RULES_NO_RULE}, /* another device's rule */
    {"table_load", "app-1", "U-1", {"9:0"}, 15},
    {"table_load", "x", "U-1", {"9:0"}, 15},
    {"table_swap", "x", "U-1", {"9:0"}, RULES_NO_RULE},
    {"table_load", "x", "U-1", {"8:0"}, RULES_NO_RULE},
    {"table_load", "free", NULL, {"1:1"}, 14},
    {"table_load", "free", NULL, {NULL}, 14},
    {"table_load", "app-1", NULL, {NULL}, RULES_NO_RULE},
    {"table_load", "other", NULL, {"8:0"}, RULES_NO_RULE},
    {"table_status", "app-1", NULL, {"8:0"}, RULES_NO_RULE},
};

static void test_under(void **state)
{
    struct rules *rules = make();
    const struct rules_who who = {.uid = 106};

    (void)state;
    for (size_t i = 0; i < COUNT(under_rows); i++) {
        const struct under_row *row = &under_rows[i];
        const struct method *method = method_of(row->method);
        size_t count = 0;
        while (count < 3 && row->names[count]) {
            count++;
        }
        const struct rules_device device = device_of(row->name, row->uuid);
        if (rules_under(rules, &who, method, device, row->names, count) !=
            (row->rule != RULES_NO_RULE)) {
            fail_msg("row %zu: rule %d", i, row->rule);
        }
        assert_true(row->rule == RULES_NO_RULE ||
                    rules_allow_by(rules, (size_t)row->rule, &who, method, device));
        assert_int_equal(rules_under(rules, &who, method, device, NULL, 0),
                         strcmp(row->name, "free") == 0);
    }
    (void)rules_unref(rules);
}

/* --- keys --- */

static void test_keys(void **state)
{
    struct rules *rules = make();
    const struct method *status = method_of("table_status");
    const struct rules_who who = {.uid = 104};
    const struct rules_who root = {.uid = 0};

    (void)state;
    assert_true(rules_show_keys(rules, &who, status, device_of("k-1", NULL)));
    assert_false(rules_show_keys(rules, &who, status, device_of("a", NULL)));
    assert_false(rules_show_keys(rules, &who, status, device_of(NULL, "k-1")));
    assert_false(rules_show_keys(rules, &who, method_of("table_deps"), device_of("k-1", NULL)));
    assert_false(rules_show_keys(rules, &root, status, device_of("k-1", NULL)));
    (void)rules_unref(rules);
}

/* --- the whole --- */

static void test_builtin(void **state)
{
    struct rules *rules;
    const struct rules_who root = {.uid = 0};
    const struct rules_who own = {.uid = 500, .gid = 500};
    const struct rules_who other = {.uid = 501, .gid = 0};

    (void)state;
    assert_int_equal(rules_new_builtin(500, &rules), 0);
    assert_false(rules_configured(rules));
    for (size_t i = 0; i < method_count; i++) {
        const struct method *method = &method_table[i];
        bool reads = method->effect == EFFECT_READ;
        assert_int_equal(rules_all(rules, &root, method).match, RULES_ALL);
        assert_int_equal(rules_all(rules, &own, method).match, RULES_ALL);
        assert_int_equal(rules_all(rules, &other, method).match, reads ? RULES_ALL : RULES_DENIED);
        assert_int_equal(rules_any(rules, &other, method).rule, reads ? 1 : RULES_NO_RULE);
        assert_true(rules_under(rules, &own, method, device_of("a", NULL), NULL, 0));
    }
    const struct method *status = method_of("table_status");
    assert_true(rules_show_keys(rules, &root, status, device_of("a", NULL)));
    assert_true(rules_show_keys(rules, &own, status, device_of("a", NULL)));
    assert_false(rules_show_keys(rules, &other, status, device_of("a", NULL)));
    (void)rules_unref(rules);
}

static void test_none(void **state)
{
    struct rules *rules;
    const struct rules_who root = {.uid = 0};

    (void)state;
    assert_int_equal(rules_new(NULL, 0, true, &rules), 0);
    assert_true(rules_configured(rules));
    assert_int_equal(rules_count(rules), 0);
    for (size_t i = 0; i < method_count; i++) {
        assert_int_equal(rules_any(rules, &root, &method_table[i]).match, RULES_DENIED);
        assert_int_equal(rules_all(rules, &root, &method_table[i]).rule, RULES_NO_RULE);
        assert_int_equal(rules_device(rules, &root, &method_table[i], device_of("a", "A")).rule,
                         RULES_NO_RULE);
    }
    (void)rules_unref(rules);
}

/* All that they are made of may go. */
static void test_copies(void **state)
{
    char name[] = "name";
    char glob[] = "app-*";
    char method[] = "table_load";
    char under[] = "8:*";
    const char *const methods[] = {method};
    const char *const unders[] = {under};
    struct rule_who who[] = {{RULE_UID, 7}};
    struct rule_glob globs[] = {{RULE_BY_NAME, glob}};
    const struct rule rule = {
        .name = name,
        .who = who,
        .who_count = 1,
        .show_keys = true,
        .methods = methods,
        .methods_count = 1,
        .devices = globs,
        .devices_count = 1,
        .under = unders,
        .under_count = 1,
    };
    struct rules *rules;
    const struct rules_who seven = {.uid = 7};

    (void)state;
    assert_int_equal(rules_new(&rule, 1, true, &rules), 0);
    name[0] = glob[0] = method[0] = under[0] = 'x';
    who[0].id = 8;
    globs[0].by = RULE_BY_UUID;
    struct rules *more = rules_ref(rules);
    (void)rules_unref(rules);
    const struct rule *kept = rules_at(more, 0);
    assert_string_equal(kept->name, "name");
    assert_string_equal(kept->methods[0], "table_load");
    assert_string_equal(kept->under[0], "8:*");
    assert_true(kept->show_keys);
    assert_int_equal(
        rules_device(more, &seven, method_of("table_load"), device_of("app-1", NULL)).match,
        RULES_BY_NAME);
    assert_null(rules_unref(more));
    assert_null(rules_unref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices), cmocka_unit_test(test_supplementary),
        cmocka_unit_test(test_under),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_builtin), cmocka_unit_test(test_none),
        cmocka_unit_test(test_copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
