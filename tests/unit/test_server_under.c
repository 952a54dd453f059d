/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of under.c: what devices are called, and which of them a table may lie on. */
#include "server_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "under.h"

/* --- a host of the tests' own --- */

struct known {
    const char *path;
    struct dmi_device device;
};

/* /dev/disk/link leads to sda. */
static struct known known[] = {
    {"/dev/sda", {8, 0}},          {"/dev/sdb", {8, 16}},      {"/dev/mapper/pool-1", {254, 1}},
    {"/dev/mapper/vg0", {254, 2}}, {"/dev/disk/link", {8, 0}},
};
enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static int find(const struct block_host *host, const char *path, struct dmi_device *ret_device)
{
    ++*(int *)host->data;
    for (size_t i = 0; i < KNOWN; i++) {
        if (strcmp(known[i].path, path) == 0) {
            *ret_device = known[i].device;
            return 0;
        }
    }
    return -ENOENT;
}

static void paths(const struct block_host *host, struct dmi_device device,
                  struct block_paths *ret_paths)
{
    ++*(int *)host->data;
    *ret_paths = (struct block_paths){0};
    for (size_t i = 0; i < 4; i++) {
        if (dmi_device_equal(known[i].device, device)) {
            (void)snprintf(device.major == 254 ? ret_paths->mapped : ret_paths->node,
                           BLOCK_PATH_BYTES, "%s", known[i].path);
        }
    }
}

static int looks; /* how often the host was asked */
static const struct block_host host = {.data = &looks, .find = find, .paths = paths};
static const struct rules_who who = {.uid = 1000, .gid = 1000};

/* --- names --- */

/* The names of a device, with commas between. */
static const char *names_of(struct dmi_device device, const char *word)
{
    static char text[1024];
    struct under_names names;

    under_names(&host, word, device, &names);
    text[0] = '\0';
    for (size_t i = 0; i < names.count; i++) {
        (void)strcat(strcat(text, i ? "," : ""), names.names[i]);
    }
    return text;
}

static void test_names(void **state)
{
    const struct dmi_device sda = {8, 0};
    const struct dmi_device pool = {254, 1};

    (void)state;
    assert_string_equal(names_of(sda, NULL), "8:0,/dev/sda");
    assert_string_equal(names_of(pool, NULL), "254:1,/dev/mapper/pool-1");
    assert_string_equal(names_of((struct dmi_device){9, 0}, NULL), "9:0");
    /* A path counts only while it leads to a block device of that number. */
    assert_string_equal(names_of(sda, "/dev/disk/link"), "8:0,/dev/sda,/dev/disk/link");
    assert_string_equal(names_of(sda, "/dev/sdb"), "8:0,/dev/sda");
    assert_string_equal(names_of(sda, "/nonexistent"), "8:0,/dev/sda");
    assert_string_equal(names_of(sda, "8:0"), "8:0,/dev/sda");
}

/* --- the check --- */

/* One rule for everybody, for device "app", under `under`. */
static struct rules *make_rules(const char *const *under, size_t count)
{
    static const struct rule_who any[] = {{RULE_ANY, 0}};
    static const struct rule_glob globs[] = {{RULE_BY_NAME, "app"}};
    const struct rule rule = {
        .name = "r",
        .who = any,
        .who_count = 1,
        .effects = 1U << EFFECT_WRITE,
        .devices = globs,
        .devices_count = 1,
        .under = under,
        .under_count = count,
    };
    struct rules *rules;

    assert_int_equal(rules_new(&rule, 1, true, &rules), 0);
    return rules;
}

struct check {
    const char *under;  /* globs with blanks between; "": anything */
    const char *params; /* of a zoned line: any number of words */
    int rc;
    const char *reason;
};

static const struct check checks[] = {
    {"", "/dev/sda 0x800 word", 0, ""},
    {"/dev/sda", "/dev/sda", 0, ""},
    {"/dev/sda", "8:0", 0, ""},
    {"/dev/sda", "/dev/disk/link", 0, ""}, /* by another name */
    {"/dev/disk/*", "/dev/disk/link", 0, ""},
    {"/dev/disk/*", "/dev/sda", -EACCES, "8:0 (/dev/sda)"},
    {"8:*", "/dev/sda /dev/sdb", 0, ""},
    {"8:0", "/dev/sda /dev/sdb", -EACCES, "8:16 (/dev/sdb)"},
    {"8:0 8:16", "/dev/sda /dev/sdb 8:0", 0, ""},
    {"/dev/mapper/pool-*", "/dev/mapper/pool-1", 0, ""},
    {"/dev/mapper/pool-*", "254:1", 0, ""},
    {"/dev/mapper/pool-*", "/dev/mapper/vg0", -EACCES, "254:2 (/dev/mapper/vg0)"},
    {"/dev/*", "/dev/mapper/pool-1", -EACCES, "254:1"}, /* a * takes no slash */
    {"9:*", "9:0", 0, ""},
    {"8:*", "9:0", -EACCES, "lie on 9:0"},
    {"/dev/*", "/dev/nothing", -EACCES, "no block device"},
    {"/dev/*", "/dev/mapper/../sda", -EACCES, "neither an absolute path"},
    {"*:*", "word", -EACCES, "neither an absolute path"},
};

static struct rules *parse_rules(const char *text)
{
    static char words[256];
    const char *under[8];
    size_t count = 0;

    (void)strcpy(words, text);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        under[count++] = word;
    }
    return make_rules(under, count);
}

static struct under_ask ask_of(const struct rules *rules, const char *method, const char *name)
{
    return (struct under_ask){.host = &host,
                              .rules = rules,
                              .who = &who,
                              .method = method_find(method),
                              .device = {.name = name}};
}

static void test_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const struct check *check = &checks[i];
        struct rules *rules = parse_rules(check->under);
        const struct under_ask ask = ask_of(rules, "table_load", "app");
        const struct dmi_target targets[] = {{.type = "zero", .params = ""},
                                             {.type = "zoned", .params = check->params}};
        struct under_allowed allowed;
        struct under_refusal refusal;
        looks = 0;
        int rc = under_allowed_lines(&ask, targets, 2, &allowed, &refusal);
        if (rc != check->rc || !strstr(refusal.reason, check->reason)) {
            fail_msg("%s under %s: %d, %s", check->params, check->under, rc, refusal.reason);
        }
        assert_int_equal(refusal.has_line, rc == -EACCES);
        assert_int_equal(refusal.line, rc == -EACCES ? 1 : refusal.line);
        /* Whom nothing restricts pays nothing. */
        assert_int_equal(looks > 0, check->under[0] && !strstr(refusal.reason, "neither"));
        under_allowed_done(&allowed);
        (void)rules_unref(rules);
    }
}

/* Nobody who may not load at all is let through. */
static void test_others(void **state)
{
    struct rules *rules = parse_rules("8:*");
    struct under_ask ask = ask_of(rules, "table_load", "other");
    const struct dmi_target target = {.type = "linear", .params = "8:0 0"};
    struct under_allowed allowed;
    struct under_refusal refusal;

    (void)state;
    assert_int_equal(under_allowed_lines(&ask, &target, 1, &allowed, &refusal), -EACCES);
    under_allowed_done(&allowed);
    ask.device.name = "app";
    ask.method = method_find("table_status");
    assert_int_equal(under_allowed_lines(&ask, &target, 1, &allowed, &refusal), -EACCES);
    under_allowed_done(&allowed);
    (void)rules_unref(rules);
}

static void test_deps(void **state)
{
    struct rules *rules = parse_rules("/dev/disk/* /dev/sdb");
    const struct under_ask ask = ask_of(rules, "table_load", "app");
    const struct dmi_target target = {.type = "linear", .params = "/dev/disk/link 0"};
    const struct dmi_device expected[] = {{8, 0}};
    const struct dmi_device other[] = {{8, 0}, {8, 16}};
    const struct dmi_device bad[] = {{8, 0}, {254, 2}};
    struct under_allowed allowed;
    struct under_refusal refusal;

    (void)state;
    assert_int_equal(under_allowed_lines(&ask, &target, 1, &allowed, &refusal), 0);
    assert_int_equal(allowed.count, 1);
    /* By its path it was allowed; the number alone would not do. */
    assert_int_equal(under_allowed_deps(&ask, &allowed, expected, 1, &refusal), 0);
    assert_int_equal(under_allowed_deps(&ask, &(struct under_allowed){0}, expected, 1, &refusal),
                     -EACCES);
    assert_int_equal(under_allowed_deps(&ask, &allowed, other, 2, &refusal), 0);
    assert_int_equal(under_allowed_deps(&ask, &allowed, bad, 2, &refusal), -EACCES);
    assert_false(refusal.has_line);
    assert_non_null(strstr(refusal.reason, "254:2 (/dev/mapper/vg0)"));
    assert_int_equal(under_allowed_deps(&ask, &allowed, NULL, 0, &refusal), 0);
    under_allowed_done(&allowed);
    assert_false(under_anything(&ask));
    (void)rules_unref(rules);
    rules = parse_rules("");
    const struct under_ask free_ask = ask_of(rules, "table_swap", "app");
    looks = 0;
    assert_true(under_anything(&free_ask));
    assert_int_equal(looks, 0);
    assert_int_equal(under_allowed_deps(&free_ask, &(struct under_allowed){0}, bad, 2, &refusal),
                     0);
    (void)rules_unref(rules);
}

/* The link moves between the two looks at it: what it leads to then is asked for. */
static void test_path_that_moves(void **state)
{
    struct rules *rules = parse_rules("/dev/disk/*");
    const struct under_ask ask = ask_of(rules, "table_load", "app");
    const struct dmi_target target = {.type = "linear", .params = "/dev/disk/link 0"};
    const struct dmi_device after[] = {{254, 2}};
    struct under_allowed allowed;
    struct under_refusal refusal;

    (void)state;
    assert_int_equal(under_allowed_lines(&ask, &target, 1, &allowed, &refusal), 0);
    assert_int_equal(under_allowed_deps(&ask, &allowed, after, 1, &refusal), -EACCES);
    under_allowed_done(&allowed);
    (void)rules_unref(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),           cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_others),          cmocka_unit_test(test_deps),
        cmocka_unit_test(test_path_that_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
