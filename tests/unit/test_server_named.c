/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of named.c: which words of a line are devices. */
#include "server_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "named.h"

/* --- lines --- */

struct row {
    const char *type, *params;
    const char *words; /* "8:0 /dev/sda"; or "!" and a part of the reason */
};

#define SHORT "!too few words"
#define WORD  "!neither an absolute path"
#define TYPE  "!its type is none"

static const struct row rows[] = {
    /* none, or one at a fixed place */
    {"zero", "", ""},
    {"zero", "8:0", ""},
    {"error", "", ""},
    {"error", "/dev/sda 0", "/dev/sda"},
    {"error", "8:0", "8:0"},
    {"error", "word", WORD},
    {"linear", "8:0 0", "8:0"},
    {"linear", "/dev/sda 2048", "/dev/sda"},
    {"linear", "  /dev/sda\t2048 \n", "/dev/sda"},
    {"linear", "8:0 0 more words 8:1", "8:0"},
    {"linear", "", SHORT},
    {"linear", "   ", SHORT},
    {"crypt", "aes-xts-plain64 00112233 0 8:16 0", "8:16"},
    {"crypt", "aes-xts-plain64 :32:logon:key 0 /dev/sdb 0 1 allow_discards", "/dev/sdb"},
    {"crypt", "aes-xts-plain64 0011 0", SHORT},
    {"crypt", "aes 8:0 0 0011 0", WORD},
    {"flakey", "8:0 0 5 5 1 drop_writes", "8:0"},
    {"dust", "/dev/sdb 0 512", "/dev/sdb"},
    {"ebs", "/dev/sda 0 8 1", "/dev/sda"},
    {"unstriped", "2 256 1 /dev/nvme0n1 0", "/dev/nvme0n1"},
    {"unstriped", "2 256 1", SHORT},
    {"snapshot-origin", "254:3", "254:3"},
    {"vdo", "V4 /dev/sda 1000 512 32768 16380", "/dev/sda"},
    {"vdo", "V2 /dev/sda 1000", "!of a version"},
    {"vdo", "", "!of a version"},
    /* more */
    {"delay", "8:0 0 500", "8:0"},
    {"delay", "8:0 0 500 8:1 0 10", "8:0 8:1"},
    {"delay", "8:0 0 500 8:1 0 10 8:2 0 1", "8:0 8:1 8:2"},
    {"delay", "8:0 0 500 word 0 10", WORD},
    {"snapshot", "/dev/o /dev/cow P 16", "/dev/o /dev/cow"},
    {"snapshot", "/dev/o", SHORT},
    {"snapshot-merge", "/dev/o /dev/cow PO 16", "/dev/o /dev/cow"},
    {"thin-pool", "/dev/meta /dev/data 128 0 1 skip_block_zeroing", "/dev/meta /dev/data"},
    {"thin", "/dev/mapper/pool 1", "/dev/mapper/pool"},
    {"thin", "/dev/mapper/pool 1 /dev/origin", "/dev/mapper/pool /dev/origin"},
    {"thin", "pool 1", WORD},
    {"cache", "8:0 8:1 8:2 512 1 writeback default 0", "8:0 8:1 8:2"},
    {"cache", "8:0 8:1", SHORT},
    {"era", "8:0 8:1 4096", "8:0 8:1"},
    {"clone", "8:0 8:1 8:2 8", "8:0 8:1 8:2"},
    {"writecache", "s 8:0 8:1 4096 0", "8:0 8:1"},
    {"writecache", "p 8:0", SHORT},
    {"log-writes", "8:0 8:1", "8:0 8:1"},
    {"zoned", "8:0", "8:0"},
    {"zoned", "/dev/a /dev/b /dev/c", "/dev/a /dev/b /dev/c"},
    {"zoned", "", SHORT},
    {"zoned", "/dev/a 5", WORD},
    /* so many as a number says */
    {"striped", "2 128 8:0 0 8:1 0", "8:0 8:1"},
    {"striped", "1 128 /dev/a 0", "/dev/a"},
    {"striped", "2 128 8:0 0", SHORT},
    {"striped", "1 128 8:0 0 8:1 0", SHORT},
    {"striped", "x 128 8:0 0", SHORT},
    {"striped", "+1 128 8:0 0", SHORT},
    {"striped", "4294967297 128 8:0 0", SHORT}, /* 1 to a kernel that takes 32 bits of it */
    {"striped", "2", SHORT},
    {"switch", "2 64 0 8:0 0 8:1 0", "8:0 8:1"},
    {"switch", "2 64 1 word 8:0 0 8:1 0", SHORT},
    {"switch", "2 64", SHORT},
    {"mirror", "core 1 1024 2 8:0 0 8:1 0", "8:0 8:1"},
    {"mirror", "core 2 1024 nosync 2 8:0 0 8:1 0 1 handle_errors", "8:0 8:1"},
    {"mirror", "disk 2 8:9 1024 2 8:0 0 8:1 0", "8:9 8:0 8:1"},
    {"mirror", "disk 3 /dev/log 1024 sync 3 8:0 0 8:1 0 8:2 0", "/dev/log 8:0 8:1 8:2"},
    {"mirror", "disk 2 log 1024 2 8:0 0 8:1 0", WORD},
    {"mirror", "userspace 2 uuid 1024 2 8:0 0 8:1 0", "!its log"},
    {"mirror", "core 0 2 8:0 0 8:1 0", SHORT},
    {"mirror", "core 1 1024 2 8:0 0 8:1", SHORT},
    {"mirror", "core 9 1024", SHORT},
    {"mirror", "core", SHORT},
    {"raid", "raid1 3 0 region_size 1024 2 - 8:0 - 8:1", "8:0 8:1"},
    {"raid", "raid5_ls 1 64 3 8:1 8:2 8:3 8:4 - -", "8:1 8:2 8:3 8:4"},
    {"raid", "raid6_zr 3 64 journal_dev /dev/j 1 - 8:0", "/dev/j 8:0"},
    {"raid", "raid6_zr 3 64 JOURNAL_DEV /dev/j 1 - 8:0", "/dev/j 8:0"},
    {"raid", "raid6_zr 3 64 journal_dev j 1 - 8:0", WORD},
    {"raid", "raid1 1 0 2 - 8:0", SHORT},
    {"raid", "raid1 1 0 1 - 8:0 8:1", SHORT},
    {"raid", "raid1 1 0 1 x 8:0", WORD},
    {"raid", "raid1", SHORT},
    {"multipath", "0 0 1 1 round-robin 0 2 1 8:0 1000 8:16 1000", "8:0 8:16"},
    {"multipath", "0 0 1 1 round-robin 0 1 0 8:0", "8:0"},
    {"multipath",
     "1 queue_if_no_path 1 emc 2 1 service-time 0 1 2 8:0 1 1 queue-length 0 1 1 8:16 1",
     "8:0 8:16"},
    {"multipath", "3 queue_mode bio pg_init_retries 0 0 0", ""},
    {"multipath", "0 0 1 1 historical-service-time 2 a b 1 1 /dev/sdc 5", "/dev/sdc"},
    {"multipath", "0 0 1 1 round-robin 0 2 1 8:0 1000", SHORT},
    {"multipath", "0 0 1 1 round-robin 0 1 1 sda 1000", WORD},
    {"multipath", "0 0 1 1 round-robin 0 0 0", SHORT},
    {"multipath", "0 0 1 1 round-robin 0 1 0 8:0 8:1", SHORT}, /* a group that is none */
    {"multipath", "5 a", SHORT},
    {"multipath", "0 0 1", SHORT},
    {"multipath", "", SHORT},
    /* among options */
    {"verity", "1 8:0 8:1 4096 4096 100 1 sha256 00 00", "8:0 8:1"},
    {"verity", "1 8:0 8:1 4096 4096 100 1 sha256 00 00 2 use_fec_from_device 8:2", "8:0 8:1 8:2"},
    {"verity", "1 8:0 8:1 4096 4096 100 1 sha256 00 00 3 x USE_FEC_FROM_DEVICE /dev/f",
     "8:0 8:1 /dev/f"},
    {"verity", "1 8:0 8:1 4096 4096 100 1 sha256 00 00 1 use_fec_from_device", SHORT},
    {"verity", "1 8:0", SHORT},
    {"integrity", "8:0 0 32 J 0", "8:0"},
    {"integrity", "8:0 0 32 J 2 meta_device:/dev/m journal_sectors:8", "8:0 /dev/m"},
    {"integrity", "8:0 0 32 J 2 meta_device:8:5 meta_device:8:6", "8:0 8:5 8:6"},
    {"integrity", "8:0 0 32 J 1 meta_device:m", WORD},
    {"integrity", "8:0 0 32 J 1 internal_hash:crc32c", "8:0"},
    /* types that nobody knows, or that only look so */
    {"", "8:0 0", TYPE},
    {"linea", "8:0 0", TYPE},
    {"Linear", "8:0 0", TYPE},
    {"linear2", "8:0 0", TYPE},
    {"userspace", "8:0 0", TYPE},
    {"snapshot-", "8:0 8:1", TYPE},
    /* words as the kernel splits them */
    {"linear", "/dev/a\\ b 0", "/dev/a b"},
    {"linear", "\\8:0 0", "8:0"},
    {"linear", "/dev/a\\\\b 0", "/dev/a\\b"},
    {"linear", "/dev/a\\", "/dev/a\\"},
    {"linear", "\v/dev/a\f0", "/dev/a"},
    {"linear", "\xa0/dev/a\xa0/dev/b", "/dev/a"},
    /* words that are devices, or none that is understood */
    {"linear", "0:0 0", "0:0"},
    {"linear", "008:000 0", "8:0"},
    {"linear", "4095:1048575 0", "4095:1048575"},
    {"linear", "4096:0 0", WORD},
    {"linear", "8:1048576 0", WORD},
    {"linear", "8:4294967296 0", WORD},
    {"linear", "99999999999999999999:0 0", WORD},
    {"linear", "8: 0", WORD},
    {"linear", ":8 0", WORD},
    {"linear", "8:0x 0", WORD},
    {"linear", "8:0:0 0", WORD},
    {"linear", "-8:0 0", WORD},
    {"linear", "+8:0 0", WORD},
    {"linear", "\\ 8:0 0", WORD},
    {"linear", "0x800 0", WORD},
    {"linear", "800 0", WORD},
    {"linear", "PARTUUID=1-2 0", WORD},
    {"linear", "sda 0", WORD},
    {"linear", "dev/sda 0", WORD},
    {"linear", "./dev/sda 0", WORD},
    {"linear", "/dev/mapper/../sda 0", WORD},
    {"linear", "/dev/mapper/.. 0", WORD},
    {"linear", "/.. 0", WORD},
    {"linear", "/dev/..sda 0", "/dev/..sda"},
    {"linear", "/dev/sda.. 0", "/dev/sda.."},
    {"linear", "/dev/..a/../b 0", WORD},
    {"linear", "/dev/... 0", "/dev/..."},
    {"linear", "/dev/./sda 0", "/dev/./sda"},
    {"linear", "/ 0", "/"},
};

/* The words with a blank between them; of numbers as they were understood. */
static void put_words(const struct named *named, char *ret_text, size_t size)
{
    size_t length = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < named->count; i++) {
        const struct named_device *device = &named->devices[i];
        const char *gap = i ? " " : "";
        int n = device->is_number
                    ? snprintf(ret_text + length, size - length, "%s%u:%u", gap,
                               device->device.major, device->device.minor)
                    : snprintf(ret_text + length, size - length, "%s%s", gap, device->text);
        length += (size_t)n;
    }
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        const struct dmi_target target = {.type = row->type, .params = row->params};
        struct named named;
        char words[512];
        int rc = named_read(&target, 1, &named);
        put_words(&named, words, sizeof(words));
        bool bad = row->words[0] == '!';
        if (rc != (bad ? -EINVAL : 0)) {
            fail_msg("%s %s: %d", row->type, row->params, rc);
        }
        if (bad ? !strstr(named.reason, row->words + 1) : strcmp(words, row->words) != 0) {
            fail_msg("%s %s: %s %s", row->type, row->params, words, named.reason);
        }
        named_done(&named);
    }
}

static void test_many_lines(void **state)
{
    enum { COUNT = 1000 };
    struct dmi_target *targets = calloc(COUNT, sizeof(*targets));
    struct named named;

    (void)state;
    assert_non_null(targets);
    for (size_t i = 0; i < COUNT; i++) {
        targets[i] = (struct dmi_target){.type = "striped", .params = "2 8 8:0 0 8:1 0"};
    }
    assert_int_equal(named_read(targets, COUNT, &named), 0);
    assert_int_equal(named.count, 2 * COUNT);
    for (size_t i = 0; i < named.count; i++) {
        assert_int_equal(named.devices[i].line, i / 2);
        assert_int_equal(named.devices[i].device.minor, i % 2);
    }
    named_done(&named);
    targets[777].params = "2 8 8:0 0";
    assert_int_equal(named_read(targets, COUNT, &named), -EINVAL);
    assert_int_equal(named.bad_line, 777);
    named_done(&named);
    assert_int_equal(named_read(NULL, 0, &named), 0);
    assert_int_equal(named.count, 0);
    named_done(&named);
    free(targets);
}

/* What a line holds, such as a key, is in no reason. */
static void test_nothing_is_told(void **state)
{
    static const char *const lines[][2] = {{"crypt", "aes SECRET 0 SECRET 0"},
                                           {"SECRET", "SECRET"},
                                           {"linear", "SECRET"},
                                           {"mirror", "SECRET 1 SECRET 2 a b c d"},
                                           {"vdo", "SECRET"}};

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const struct dmi_target target = {.type = lines[i][0], .params = lines[i][1]};
        struct named named;
        assert_int_equal(named_read(&target, 1, &named), -EINVAL);
        assert_int_not_equal(strlen(named.reason), 0);
        assert_null(strstr(named.reason, "SECRET"));
        named_done(&named);
    }
}

/* --- the same as the kernel does --- */

struct loaded {
    const char *type;
    uint64_t length;
    const char *params;
};

/* Lines that the simulated kernel takes; its disks are 8:0 to 8:4, /dev/disk0 to /dev/disk4. */
static const struct loaded loaded[] = {
    {"zero", 8, ""},
    {"error", 8, ""},
    {"linear", 8, "8:0 0"},
    {"linear", 8, "/dev/disk1 0"},
    {"linear", 8, " \t/dev/dis\\k1   0 "},
    {"striped", 1024, "2 128 8:0 0 /dev/disk3 0"},
    {"flakey", 8, "8:2 0 5 5"},
    {"delay", 8, "8:0 0 5"},
    {"delay", 8, "8:0 0 5 8:1 0 5"},
    {"delay", 8, "8:0 0 5 8:1 0 5 8:4 0 5"},
    {"crypt", 8,
     "aes-xts-plain64 00112233445566778899aabbccddeeff102132435465768798a9babbdcedfe0f 0 8:3 0"},
    {"crypt", 8,
     "aes-xts-plain64 00112233445566778899aabbccddeeff102132435465768798a9babbdcedfe0f 0 8:3 0 1 "
     "allow_discards"},
    {"mirror", 1024, "core 1 1024 2 8:0 0 8:1 0"},
    {"mirror", 1024, "core 2 1024 nosync 3 8:0 0 8:1 0 8:2 0 1 handle_errors"},
    {"mirror", 1024, "disk 2 8:4 1024 2 8:0 0 8:1 0"},
    {"raid", 1024, "raid1 2 0 nosync 2 - 8:0 - 8:1"},
    {"raid", 1024, "raid1 1 0 2 8:3 8:0 8:2 8:1"},
    {"snapshot-origin", 8, "8:0"},
    {"snapshot", 8, "8:0 8:1 P 16"},
    {"thin-pool", 1280, "8:0 8:1 128 5 1 skip_block_zeroing"},
    {"cache", 1024, "8:0 8:1 8:2 128 1 writethrough default 0"},
};

static struct dmi_device number_of(struct rig *rig, const struct named_device *device)
{
    struct dmi_sim_disk *disks;
    struct dmi_device number = device->device;
    size_t count;

    assert_int_equal(dmi_sim_disks(rig->sim, &disks, &count), 0);
    for (size_t i = 0; !device->is_number && i < count; i++) {
        if (strcmp(disks[i].path, device->text) == 0) {
            number = disks[i].device;
        }
    }
    free(disks);
    return number;
}

static bool has_dep(const struct dmi_deps *deps, struct dmi_device device)
{
    bool has = false;

    for (size_t i = 0; !has && i < deps->count; i++) {
        has = dmi_device_equal(deps->devices[i], device);
    }
    return has;
}

/* Each word is a dependency, and each dependency a word. */
static void assert_same(struct rig *rig, const struct loaded *line, const struct dmi_deps *deps)
{
    const struct dmi_target target = {.type = line->type, .params = line->params};
    struct named named;
    bool found[8] = {false};

    assert_int_equal(named_read(&target, 1, &named), 0);
    for (size_t i = 0; i < named.count; i++) {
        struct dmi_device device = number_of(rig, &named.devices[i]);
        if (device.major != 8 || !has_dep(deps, device)) {
            fail_msg("%s %s: %s is no dependency", line->type, line->params, named.devices[i].text);
        }
        found[device.minor] = true;
    }
    for (size_t i = 0; i < deps->count; i++) {
        if (!found[deps->devices[i].minor]) {
            fail_msg("%s %s: 8:%u is no word", line->type, line->params, deps->devices[i].minor);
        }
    }
    named_done(&named);
}

static void test_as_the_kernel_has_it(void **state)
{
    static struct rig rig;

    (void)state;
    for (size_t i = 0; i < sizeof(loaded) / sizeof(loaded[0]); i++) {
        const struct loaded *line = &loaded[i];
        const struct dmi_target target = {
            .length = line->length, .type = line->type, .params = line->params};
        const struct dmi_id id = {.kind = DMI_BY_NAME, .name = "a"};
        struct dmi_info info;
        struct dmi_deps deps;
        struct dmi dm;
        rig_init(&rig);
        dmi_init(&dm, rig.dispatcher.host.transport);
        for (unsigned int j = 0; j < 5; j++) {
            struct dmi_sim_disk disk = {.device = {8, j}, .sectors = 131072};
            (void)snprintf(disk.path, sizeof(disk.path), "/dev/disk%u", j);
            assert_int_equal(dmi_sim_disk_add(rig.sim, &disk, NULL), 0);
        }
        assert_int_equal(dmi_device_create(&dm, "a", NULL, 0, 0, &info), 0);
        int rc = dmi_table_load(&dm, &id, &target, 1, 0, &info);
        if (rc < 0) {
            fail_msg("%s %s: not taken: %d", line->type, line->params, rc);
        }
        assert_int_equal(dmi_table_deps(&dm, &id, DMI_QUERY_INACTIVE_TABLE, &deps), 0);
        assert_same(&rig, line, &deps);
        dmi_deps_done(&deps);
        rig_done(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_nothing_is_told),
        cmocka_unit_test(test_as_the_kernel_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
