/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of block.c and this_host.c: what a host shows of its block devices is read as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "server_host.h"
#include "this_host.h"

static struct block_host host; /* this one, with another root, and other nodes */

static const struct {
    const char *path;
    int rc;
    struct dmi_device device;
} nodes[] = {
    {"/dev/sda", 0, {8, 0}},
    {"/dev/null", -ENOTBLK, {0, 0}},
    {"/mnt/sda", 0, {8, 0}},
};

static int find_node(const struct block_host *asked, const char *path,
                     struct dmi_device *ret_device)
{
    assert_ptr_equal(asked, &host);
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        if (strcmp(path, nodes[i].path) == 0) {
            *ret_device = nodes[i].device;
            return nodes[i].rc;
        }
    }
    return -ENOENT;
}

static int setup(void **state)
{
    char longest[300] = "MAJOR=8\nDEVNAME=";

    if (host_setup(state) < 0) {
        return -1;
    }
    host = this_host;
    host.root = host_root;
    host.find = find_node;
    host_put("/sys/dev/block/8:0/uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n");
    host_put("/sys/dev/block/8:1/uevent", "DEVNAME=cciss/c0d0\n");
    host_put("/sys/dev/block/8:2/uevent", "XDEVNAME=no\nMAJOR=8\n");
    host_put("/sys/dev/block/8:3/uevent", "");
    memset(longest + strlen(longest), 'x', 280);
    host_put("/sys/dev/block/8:4/uevent", longest);
    host_put("/sys/dev/block/254:7/uevent", "MAJOR=254\nDEVNAME=dm-7\n");
    host_put("/sys/dev/block/254:7/dm/name", "pool-a b\n");
    host_put("/sys/dev/block/254:7/ro", "1\n");
    return 0;
}

/* --- words --- */

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        struct dmi_device device;
    } good[] = {{"254:3", {254, 3}},
                {"7:0", {7, 0}},
                {"08:000000000001", {8, 1}},
                {"4095:1048575", {4095, 1048575}}};
    static const char *const bad[] = {
        "",        "254",    "254:",      ":3",           ":",
        "254:3:1", "254:3x", "-1:3",      "+1:3",         " 1:3",
        "1:3 ",    "1: 3",   "sda",       "/dev/sda",     "0x8:0",
        "4096:0",  "8:-1",   "8:1048576", "8:4294967296", "18446744073709551624:0"};
    struct dmi_device device;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(block_parse(good[i].text, &device));
        assert_true(dmi_device_equal(device, good[i].device));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (block_parse(bad[i], &device)) {
            fail_msg("'%s' is no number of a device", bad[i]);
        }
    }
}

static void test_paths(void **state)
{
    static const char *const good[] = {"/dev/sda", "/", "/dev/..a", "/dev/a..", "/dev/...", "/mnt"};
    static const char *const bad[] = {"", "sda", "dev/sda", "/dev/../mnt", "/..", "/dev/..", "8:0"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(block_is_path(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(block_is_path(bad[i]));
    }
}

/* --- devices --- */

static void test_look(void **state)
{
    static const struct {
        const char *word;
        int rc;
    } rows[] = {
        {"8:0", 0},
        {"254:7", 0},
        {"/dev/sda", 0},
        {"254:4", -ENODEV},
        {"/dev/nosuch", -ENOENT},
        {"/dev/null", -ENOTBLK},
        {"/mnt/sda", -EXDEV}, /* its file system may be on the disk that is gone */
        {"/dev/../mnt/sda", -EXDEV},
        {"sda", -EXDEV},
        {"", -EXDEV},
    };
    struct dmi_device device;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc = block_look(&host, rows[i].word, &device);
        if (rc != rows[i].rc) {
            fail_msg("%s: %d", rows[i].word, rc);
        }
    }
    assert_int_equal(block_find(&host, "/mnt/sda", &device), 0);
    assert_true(dmi_device_equal(device, (struct dmi_device){8, 0}));
}

static void assert_paths(unsigned int major, unsigned int minor, const char *node,
                         const char *mapped)
{
    struct block_paths paths;

    host.paths(&host, (struct dmi_device){major, minor}, &paths);
    assert_string_equal(paths.node, node);
    assert_string_equal(paths.mapped, mapped);
}

static void test_what_they_are_called(void **state)
{
    (void)state;
    assert_paths(8, 0, "/dev/sda", "");
    assert_paths(8, 1, "/dev/cciss/c0d0", "");
    assert_paths(8, 2, "", "");
    assert_paths(8, 3, "", "");
    assert_paths(8, 4, "", ""); /* too long for a name */
    assert_paths(9, 0, "", ""); /* nothing is known of it */
    assert_paths(254, 7, "/dev/dm-7", "/dev/mapper/pool-a b");
}

static void test_attributes(void **state)
{
    const struct dmi_device device = {254, 7};
    char value[BLOCK_NAME];

    (void)state;
    assert_true(block_attribute(&host, device, "ro", value));
    assert_string_equal(value, "1");
    assert_false(block_attribute(&host, device, "nosuch", value));
    assert_false(block_attribute(&host, (struct dmi_device){1, 2}, "ro", value));
    host.root = NULL; /* a host without such files */
    assert_false(block_attribute(&host, device, "ro", value));
}

static void test_lines(void **state)
{
    struct block_host here = {.root = host_root};
    char rest[8];

    (void)state;
    host_put("/proc/file", "one: 1\ntone: 2\ntwo:3\none: 4\nlong:123456789\nend:");
    assert_true(block_find_line(&here, "/proc/file", "one:", rest, sizeof(rest)));
    assert_string_equal(rest, " 1");
    assert_true(block_find_line(&here, "/proc/file", "two:", rest, sizeof(rest)));
    assert_string_equal(rest, "3");
    assert_true(block_find_line(&here, "/proc/file", "long:", rest, sizeof(rest)));
    assert_string_equal(rest, "1234567"); /* cut */
    assert_true(block_find_line(&here, "/proc/file", "end:", rest, sizeof(rest)));
    assert_string_equal(rest, "");
    assert_false(block_find_line(&here, "/proc/file", "three:", rest, sizeof(rest)));
    assert_false(block_find_line(&here, "/proc/nosuch", "one:", rest, sizeof(rest)));
    here.root = NULL;
    assert_false(block_find_line(&here, "/proc/file", "one:", rest, sizeof(rest)));
}

/* The nodes of the machine that runs the tests, any of which has these. */
static void test_this_host(void **state)
{
    struct dmi_device device;

    (void)state;
    assert_int_equal(block_look(&this_host, "/dev/null", &device), -ENOTBLK);
    assert_int_equal(block_look(&this_host, "/dev/no such node", &device), -ENOENT);
    assert_int_equal(block_look(&this_host, "/dev/null/below", &device), -ENOTDIR);
    assert_int_equal(block_look(&this_host, "4095:1048575", &device), -ENODEV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_paths),
        cmocka_unit_test_setup_teardown(test_look, setup, host_teardown),
        cmocka_unit_test_setup_teardown(test_what_they_are_called, setup, host_teardown),
        cmocka_unit_test_setup_teardown(test_attributes, setup, host_teardown),
        cmocka_unit_test_setup_teardown(test_lines, host_setup, host_teardown),
        cmocka_unit_test(test_this_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
