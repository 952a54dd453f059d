/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of holders.c, on a host of files: what it shows of a device's users is read as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holders.h"
#include "server_host.h"
#include "server_memory.h"

static struct arena arena;
static const struct dmi_device dm3 = {254, 3};

/* --- the host --- */

static const struct {
    const char *path;
    struct dmi_device device;
} nodes[] = {
    {"/dev/dm-3", {254, 3}},
    {"/dev/mapper/a b", {254, 3}},
    {"/dev/sda", {8, 0}},
    {"/mnt/file", {254, 3}}, /* must never be looked at */
};

static int find_node(const struct block_host *asked, const char *path,
                     struct dmi_device *ret_device)
{
    (void)asked;
    assert_memory_equal(path, "/dev/", 5);
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        if (strcmp(path, nodes[i].path) == 0) {
            *ret_device = nodes[i].device;
            return 0;
        }
    }
    return -ENOENT;
}

static const struct block_host host = {.root = host_root, .find = find_node};

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
    char command[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0); /* NOLINT: a test's own words */
}

/* A block device in sysfs, as the kernel lays it out. */
static void add_device(const char *name, const char *number)
{
    char path[128];
    char text[64];

    (void)snprintf(path, sizeof(path), "/sys/devices/virtual/block/%s/dev", name);
    (void)snprintf(text, sizeof(text), "%s\n", number);
    host_put(path, text);
    run("mkdir -p %s/sys/dev/block %s/sys/class/block %s/sys/block "
        "%s/sys/devices/virtual/block/%s/holders",
        host_root, host_root, host_root, host_root, name);
    run("ln -s ../../devices/virtual/block/%s %s/sys/dev/block/%s", name, host_root, number);
    run("ln -s ../../devices/virtual/block/%s %s/sys/class/block/%s", name, host_root, name);
    run("ln -s ../devices/virtual/block/%s %s/sys/block/%s", name, host_root, name);
}

static int setup(void **state)
{
    if (host_setup(state) < 0) {
        return -1;
    }
    add_device("dm-3", "254:3");
    return 0;
}

static int teardown(void **state)
{
    arena_done(&arena);
    return host_teardown(state);
}

static struct holders find(struct dmi_device device)
{
    struct holders holders = {0};

    assert_int_equal(holders_add(&host, device, &arena, &holders), 0);
    return holders;
}

static void assert_holder(const struct holder *holder, const char *kind, const char *path,
                          const char *name)
{
    assert_string_equal(holder->kind, kind);
    assert_string_equal(holder->path, path);
    if (name) {
        assert_string_equal(holder->name, name);
    } else {
        assert_null(holder->name);
    }
}

/* --- holders --- */

static void test_nobody(void **state)
{
    (void)state;
    assert_int_equal(find(dm3).count, 0);
    assert_int_equal(find((struct dmi_device){1, 2}).count, 0);
}

static void test_stacked(void **state)
{
    (void)state;
    add_device("dm-5", "254:5");
    host_put("/sys/devices/virtual/block/dm-5/dm/name", "upper one\n");
    run("ln -s ../../dm-5 %s/sys/devices/virtual/block/dm-3/holders/dm-5", host_root);
    struct holders holders = find(dm3);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "holder", "/dev/dm-5", "upper one");
    assert_true(holders.items[0].has_device);
    assert_int_equal(holders.items[0].device.major, 254);
    assert_int_equal(holders.items[0].device.minor, 5);
    run("rm %s/sys/devices/virtual/block/dm-3/holders/dm-5", host_root);
    add_device("md0", "9:0");
    run("ln -s ../../md0 %s/sys/devices/virtual/block/dm-3/holders/md0", host_root);
    holders = find(dm3);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "holder", "/dev/md0", NULL);
}

static void test_mounts(void **state)
{
    (void)state;
    host_put("/proc/self/mountinfo",
             "22 1 254:3 / /mnt/my\\040files rw,relatime shared:1 master:2 - ext4 /dev/root rw\n"
             "23 1 254:30 / /mnt/other rw - ext4 /dev/sda rw\n"
             "24 1 0:44 / /mnt/btrfs rw - btrfs /dev/mapper/a\\040b rw,space_cache\n"
             "25 1 0:45 / /proc rw - proc proc rw\n"
             "26 1 0:46 / /mnt/nfs rw - nfs4 server:/mnt/file rw\n"
             "27 1 0:47 / /mnt/bind rw - none /mnt/file rw\n"
             "28 1 254:3 /sub /mnt/again ro - ext4 /dev/root rw\n"
             "garbage\n"
             "29 1 254:3 / /mnt/cut\n"
             "30 1 254:3 / /mnt/last rw - ext4");
    struct holders holders = find(dm3);
    assert_int_equal(holders.count, 4);
    assert_holder(&holders.items[0], "mount", "/mnt/my files", NULL);
    assert_holder(&holders.items[1], "mount", "/mnt/btrfs", NULL);
    assert_holder(&holders.items[2], "mount", "/mnt/again", NULL);
    assert_holder(&holders.items[3], "mount", "/mnt/last", NULL);
    assert_false(holders.items[0].has_device);
}

static void test_swap(void **state)
{
    (void)state;
    host_put("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                            "/dev/sda                               partition\t1\t0\t-2\n"
                            "/mnt/file                              file\t1\t0\t-2\n"
                            "/dev/dm-3                              partition\t4088\t0\t-3\n");
    struct holders holders = find(dm3);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "swap", "/dev/dm-3", NULL);
}

static void test_loops(void **state)
{
    (void)state;
    add_device("loop0", "7:0");
    add_device("loop1", "7:1");
    add_device("loop2", "7:2");
    add_device("loop3", "7:3"); /* over nothing */
    host_put("/sys/devices/virtual/block/loop0/loop/backing_file", "/dev/mapper/a b\n");
    host_put("/sys/devices/virtual/block/loop1/loop/backing_file", "/mnt/file\n");
    host_put("/sys/devices/virtual/block/loop2/loop/backing_file", "/dev/sda\n");
    struct holders holders = find(dm3);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "loop", "/dev/loop0", NULL);
    assert_true(holders.items[0].has_device);
    assert_int_equal(holders.items[0].device.major, 7);
    assert_int_equal(holders.items[0].device.minor, 0);
}

/* A partition of sda, as the kernel lays it out. */
static void add_partition(const char *name, const char *number)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/devices/virtual/block/sda/%s/partition", name);
    host_put(path, "1\n");
    (void)snprintf(path, sizeof(path), "/sys/devices/virtual/block/sda/%s/dev", name);
    host_put(path, number);
    run("mkdir %s/sys/devices/virtual/block/sda/%s/holders", host_root, name);
    run("ln -s ../../devices/virtual/block/sda/%s %s/sys/dev/block/%s", name, host_root, number);
    run("ln -s ../../devices/virtual/block/sda/%s %s/sys/class/block/%s", name, host_root, name);
}

/* Who has a partition keeps others from the disk, and who has the disk from its partitions; from
 * one partition to another it is nothing. */
static void test_partitions(void **state)
{
    const struct dmi_device sda = {8, 0};
    const struct dmi_device sda1 = {8, 1};
    const struct dmi_device sda2 = {259, 7};

    (void)state;
    add_device("sda", "8:0");
    add_partition("sda1", "8:1");
    add_partition("sda2", "259:7");
    host_put("/proc/self/mountinfo", "22 1 8:1 / /mnt/1 rw - ext4 /dev/root rw\n");
    run("ln -s ../../../dm-3 %s/sys/devices/virtual/block/sda/sda2/holders/dm-3", host_root);
    host_put("/sys/devices/virtual/block/dm-3/dm/name", "three\n");
    add_device("loop0", "7:0"); /* which claims nothing */
    host_put("/sys/devices/virtual/block/loop0/loop/backing_file", "/dev/sda\n");
    struct holders holders = find(sda);
    assert_int_equal(holders.count, 3);
    assert_holder(&holders.items[0], "holder", "/dev/dm-3", "three");
    assert_holder(&holders.items[1], "mount", "/mnt/1", NULL);
    assert_holder(&holders.items[2], "loop", "/dev/loop0", NULL);
    holders = find(sda1);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "mount", "/mnt/1", NULL);
    holders = find(sda2);
    assert_int_equal(holders.count, 1);
    assert_holder(&holders.items[0], "holder", "/dev/dm-3", "three");
    host_put("/proc/self/mountinfo", "22 1 8:0 / /mnt/0 rw - ext4 /dev/root rw\n");
    host_put("/proc/swaps", "Filename\n/dev/sda partition\t1\t0\t-2\n");
    holders = find(sda1);
    assert_int_equal(holders.count, 2);
    assert_holder(&holders.items[0], "mount", "/mnt/0", NULL);
    assert_holder(&holders.items[1], "swap", "/dev/sda", NULL);
}

static void test_there_is_an_end(void **state)
{
    char text[8192] = "";

    (void)state;
    for (int i = 0; i < 2 * HOLDERS_MAX; i++) {
        char line[128];
        (void)snprintf(line, sizeof(line), "%d 1 254:3 / /mnt/%d rw - ext4 /dev/x rw\n", i, i);
        (void)strcat(text, line);
    }
    host_put("/proc/self/mountinfo", text);
    struct holders holders = find(dm3);
    assert_int_equal(holders.count, HOLDERS_MAX);
    assert_holder(&holders.items[HOLDERS_MAX - 1], "mount", "/mnt/31", NULL);
}

static void test_no_memory(void **state)
{
    struct holders holders = {0};

    (void)state;
    const struct holder holder = {.kind = "holder", .path = "/dev/x", .name = "x"};
    memory_fail_at(0);
    assert_int_equal(holders_put(&holders, &arena, &holder), -ENOMEM);
    memory_fail_at(-1);
    assert_int_equal(holders.count, 0);
    assert_int_equal(holders_put(&holders, &arena, &holder), 0);
    assert_int_equal(holders.count, 1);
    assert_ptr_not_equal(holders.items[0].path, holder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stacked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_swap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partitions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_there_is_an_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
