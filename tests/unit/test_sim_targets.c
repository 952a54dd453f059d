/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each target's constructor rules, table and status lines, and messages. The lines
 * and reasons are those that Linux 6.1 (Debian 12) showed for the same tables.
 */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY32       "00112233445566778899aabbccddeeff"
#define KEY64       KEY32 KEY32
#define SYNCED_ONCE "raid1 1 0 2 8:3 8:0 8:2 8:1"

/* A table of one line: `line` and `info` as they are shown, or `reason` if it is refused. */
struct sample {
    const char *type;
    uint64_t length;
    const char *params;
    int rc;
    const char *reason, *line, *info;
};

static const struct sample samples[] = {
    {"zero", 8, "", 0, NULL, "", ""},
    {"zero", 8, "x", -EINVAL, "zero: No arguments required (-EINVAL)", NULL, NULL},
    {"error", 8, "any thing", 0, NULL, "", ""},
    {"linear", 8, "8:0 7", 0, NULL, "8:0 7", ""},
    {"linear", 8, "8:0", -EINVAL, "linear: Invalid argument count (-EINVAL)", NULL, NULL},
    {"linear", 8, "8:0 x", -EINVAL, "linear: Invalid device sector (-EINVAL)", NULL, NULL},
    {"linear", 8, "8:9 0", -ENXIO, "linear: Device lookup failed (-ENXIO)", NULL, NULL},
    {"striped", 32, "2 8 8:0 0 8:1 9", 0, NULL, "2 8 8:0 0 8:1 9", "2 8:0 8:1 1 AA"},
    {"striped", 32, "2", -EINVAL, "striped: Not enough arguments", NULL, NULL},
    {"striped", 32, "0 8 8:0 0", -EINVAL, "striped: Invalid stripe count", NULL, NULL},
    {"striped", 32, "2 0 8:0 0 8:1 0", -EINVAL, "striped: Invalid chunk_size", NULL, NULL},
    {"striped", 33, "2 8 8:0 0 8:1 0", -EINVAL,
     "striped: Target length not divisible by number of stripes", NULL, NULL},
    {"striped", 36, "2 8 8:0 0 8:1 0", -EINVAL,
     "striped: Target length not divisible by chunk size", NULL, NULL},
    {"striped", 32, "2 8 8:0 0", -EINVAL, "striped: Not enough destinations specified", NULL, NULL},
    {"striped", 32, "2 8 8:0 0 8:9 0", -ENXIO, "striped: Couldn't parse stripe destination", NULL,
     NULL},
    {"delay", 8, "8:0 1 20", 0, NULL, "8:0 1 20", "0 0 0"},
    {"delay", 8, "8:0 1 20 8:1 2 30", 0, NULL, "8:0 1 20 8:1 2 30", "0 0 0"},
    {"delay", 8, "8:0 1 2 8:1 3 4 8:2 5 6", 0, NULL, "8:0 1 2 8:1 3 4 8:2 5 6", "0 0 0"},
    {"delay", 8, "8:0 1", -EINVAL, "delay: Requires exactly 3, 6 or 9 arguments", NULL, NULL},
    {"delay", 8, "8:0 1 x", -EINVAL, "delay: Invalid delay", NULL, NULL},
    {"flakey", 8, "8:0 1 2 3", 0, NULL, "8:0 1 2 3 0 ", ""},
    {"flakey", 8, "8:0 1 2 3 1 drop_writes", 0, NULL, "8:0 1 2 3 1 drop_writes ", ""},
    {"flakey", 8, "8:0 1 2 3 5 corrupt_bio_byte 32 r 1 0", 0, NULL,
     "8:0 1 2 3 5 corrupt_bio_byte 32 r 1 0 ", ""},
    {"flakey", 8, "8:0 1 0 0", -EINVAL, "flakey: Total (up + down) interval is zero", NULL, NULL},
    {"flakey", 8, "8:0 1 4294967295 1", -EINVAL, "flakey: Total (up + down) interval is zero", NULL,
     NULL},
    {"flakey", 8, "8:0 1 4294967295 2", -EINVAL, "flakey: Interval overflow", NULL, NULL},
    {"flakey", 8, "8:0 1 2 3 2 drop_writes error_writes", -EINVAL,
     "flakey: Feature error_writes conflicts with feature drop_writes", NULL, NULL},
    {"flakey", 8, "8:0 1 2 3 1 corrupt_bio_byte", -EINVAL,
     "flakey: Feature corrupt_bio_byte requires parameters", NULL, NULL},
    {"flakey", 8, "8:0 1 2 3 5 corrupt_bio_byte 1 w 1", -EINVAL,
     "flakey: Invalid number of feature args", NULL, NULL},
    {"flakey", 8, "8:0 1 2 3 1 nope", -EINVAL, "flakey: Unrecognised flakey feature requested",
     NULL, NULL},
    {"crypt", 8, "aes-xts-plain64 " KEY64 " 0 8:0 0", 0, NULL, "aes-xts-plain64 " KEY64 " 0 8:0 0",
     ""},
    {"crypt", 8, "aes " KEY32 " 5 8:0 9 1 allow_discards", 0, NULL,
     "aes " KEY32 " 5 8:0 9 1 allow_discards", ""},
    {"crypt", 8, "capi:cbc(aes)-essiv:sha256 " KEY32 " 0 8:0 0", 0, NULL,
     "capi:cbc(aes)-essiv:sha256 " KEY32 " 0 8:0 0", ""},
    {"crypt", 8, "cipher_null-ecb - 0 8:0 0", 0, NULL, "cipher_null-ecb - 0 8:0 0", ""},
    {"crypt", 8, "aes-xts-plain64 " KEY32 " 0 8:0", -EINVAL, "crypt: Not enough arguments", NULL,
     NULL},
    {"crypt", 8, "aes-xts-plain64 " KEY32 " 0 8:0 0", -EINVAL,
     "crypt: Error decoding and setting key (-EINVAL)", NULL, NULL},
    {"crypt", 8, "aes-xts-plain64 zz" KEY32 KEY32 " 0 8:0 0", -EINVAL,
     "crypt: Error decoding and setting key (-EINVAL)", NULL, NULL},
    {"crypt", 8, "aes-nope-plain " KEY32 " 0 8:0 0", -ENOENT,
     "crypt: Error allocating crypto tfm (-ENOENT)", NULL, NULL},
    {"crypt", 8, "aes-cbc-nope " KEY32 " 0 8:0 0", -EINVAL, "crypt: Invalid IV mode", NULL, NULL},
    {"crypt", 8, "aes-cbc " KEY32 " 0 8:0 0", -EINVAL, "crypt: IV mechanism required", NULL, NULL},
    {"crypt", 8, "aes-cbc-essiv " KEY32 " 0 8:0 0", -EINVAL,
     "crypt: Digest algorithm missing for ESSIV mode", NULL, NULL},
    {"crypt", 8, "aes-cbc-plain " KEY32 " x 8:0 0", -EINVAL, "crypt: Invalid iv_offset sector",
     NULL, NULL},
    {"crypt", 8, "aes-cbc-plain " KEY32 " 0 8:0 0 1 sector_size:4096", 0, NULL,
     "aes-cbc-plain " KEY32 " 0 8:0 0 1 sector_size:4096", ""},
    {"crypt", 8, "aes-cbc-plain " KEY32 " 0 8:0 0 1 integrity:28:aead", -EINVAL,
     "crypt: Bad cipher specification", NULL, NULL},
    {"crypt", 8, "aes-cbc-plain :16:logon:none 0 8:0 0", -ENOKEY,
     "crypt: Error decoding and setting key (-ENOKEY)", NULL, NULL},
    {"crypt", 8, "aes-cbc-plain :16:logon:there 0 8:0 0", 0, NULL,
     "aes-cbc-plain :16:logon:there 0 8:0 0", ""},
    {"crypt", 8, "aes-cbc-plain :16 0 8:0 0", -EINVAL, "crypt: Cannot parse key size", NULL, NULL},
    {"snapshot-origin", 8, "8:0", 0, NULL, "8:0", ""},
    {"snapshot-origin", 8, "", -EINVAL, "origin: incorrect number of arguments", NULL, NULL},
    {"snapshot", 8, "8:0 8:1 P 16", 0, NULL, "8:0 8:1 P 16", "32/131072 32"},
    {"snapshot", 8, "8:0 8:2 N 8", 0, NULL, "8:0 8:2 N 8", "0/131072 0"},
    {"snapshot", 8, "8:0 8:0 N 8", -EINVAL, "COW device cannot be the same as origin device", NULL,
     NULL},
    {"snapshot", 8, "8:0 8:2 N 9", -EINVAL, "Couldn't create exception store", NULL, NULL},
    {"snapshot", 8, "8:0 8:2 N 0", -EINVAL, "Chunk size not set", NULL, NULL},
    {"snapshot", 8, "8:0 8:2 N", -EINVAL, "requires 4 or more arguments", NULL, NULL},
    {"snapshot-merge", 8, "8:0 8:2 N 8", -EINVAL,
     "Snapshot exception store does not support snapshot-merge.", NULL, NULL},
    {"mirror", 1024, "core 2 64 nosync 2 8:0 0 8:1 0 1 handle_errors", 0, NULL,
     "core 2 64 nosync 2 8:0 0 8:1 0 1 handle_errors", "2 8:0 8:1 16/16 1 AA 1 core"},
    {"mirror", 1024, "disk 2 8:2 64 2 8:0 0 8:1 0", 0, NULL, "disk 2 8:2 64 2 8:0 0 8:1 0",
     "2 8:0 8:1 16/16 1 AA 3 disk 8:2 A"},
    {"mirror", 1024, "core 1 63 2 8:0 0 8:1 0", -EINVAL, "Error creating mirror dirty log", NULL,
     NULL},
    {"mirror", 1024, "core 1 64 1 8:0 0", -EINVAL, "Invalid number of mirrors", NULL, NULL},
    {"mirror", 1024, "core 1 64 2 8:0 0 8:1 0 1 keep_log", -EINVAL,
     "keep_log feature requires the handle_errors feature", NULL, NULL},
    {"raid", 1024, "raid1 2 0 nosync 2 - 8:0 - 8:1", 0, NULL, "raid1 2 0 nosync 2 - 8:0 - 8:1",
     "raid1 2 AA 1024/1024 idle 0 0 -"},
    {"raid", 1024, "raid9 1 0 2 - 8:0 - 8:1", -EINVAL, "Unrecognised raid_type", NULL, NULL},
    {"raid", 1024, "raid5_ls 1 63 3 - 8:0 - 8:1 - 8:2", -EINVAL, "Chunk size must be a power of 2",
     NULL, NULL},
    {"raid", 1024, "raid1 3 0 sync nosync 2 - 8:0 - 8:1", -EINVAL,
     "sync and nosync are mutually exclusive", NULL, NULL},
    {"raid", 1024, "raid6_zr 1 64 2 - 8:0 - 8:1", -EINVAL, "Insufficient number of devices", NULL,
     NULL},
    {"cache", 1024, "8:0 8:1 8:2 128 1 writeback smq 0", 0, NULL,
     "8:0 8:1 8:2 128 1 writeback smq 0",
     "8 10/16384 128 0/1024 0 0 0 0 0 0 0 1 writeback 2 migration_threshold 2048 smq 0 rw - "},
    {"cache", 1024, "8:0 8:1 8:2 100 0 smq 0", -EINVAL, "Invalid data block size", NULL, NULL},
    {"cache", 1024, "8:0 8:1 8:2 128 0 nope 0", -EINVAL, "Error creating cache's policy", NULL,
     NULL},
    {"cache", 1048576, "8:0 8:1 8:2 128 0 smq 0", -EINVAL, "Device size larger than cached device",
     NULL, NULL},
    {"thin-pool", 1280, "8:0 8:1 128 5 1 skip_block_zeroing", 0, NULL,
     "8:0 8:1 128 5 1 skip_block_zeroing ",
     "0 1648/16384 0/10 - rw discard_passdown queue_if_no_space - 1024 "},
    {"thin-pool", 1280, "8:0 8:0 128 5", -EINVAL, "Error setting metadata or data device", NULL,
     NULL},
    {"thin-pool", 1280, "8:0 8:1 64 5", -EINVAL, "Invalid block size", NULL, NULL},
    {"thin-pool", 1280, "8:0 8:1 128 x", -EINVAL, "Invalid low water mark", NULL, NULL},
    {"thin-pool", 1280, "8:0 8:1 128 5 1 read_only", -EPERM,
     "Error creating metadata object (-EPERM)", NULL, NULL},
    {"thin", 1280, "8:0 1", -EINVAL, "thin: unknown target type", NULL, NULL},
};

static void try_sample(const struct sample *sample)
{
    void *state;
    assert_int_equal(rig_setup(&state), 0);
    struct rig *rig = state;

    assert_int_equal(dmi_sim_key_add(rig->sim, "logon:there", 16), 0);
    rig_create(rig, "a");
    int rc = rig_load(rig, "a", sample->type, sample->length, sample->params);
    if (rc != sample->rc)
        fail_msg("%s %s: %d", sample->type, sample->params, rc);
    if (sample->reason)
        assert_logged(rig, sample->reason);
    if (rc == 0) {
        assert_int_equal(rig_resume(rig, "a"), 0);
        assert_line(rig, "a", DMI_STATUS_TABLE, sample->line);
        assert_line(rig, "a", 0, sample->info);
        assert_int_equal(rig_remove(rig, "a"), 0);
    }
    rig_teardown(&state);
}

static void lines_and_reasons(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        try_sample(&samples[i]);
}

static void keys_change_while_suspended(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "crypt", 8, "aes-cbc-plain " KEY32 " 0 8:0 0");
    assert_int_equal(rig_message(rig, "a", "key wipe"), -EINVAL);
    assert_logged(rig, "trusted_key: device-mapper: crypt: not suspended during key manipulation.");
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_int_equal(rig_message(rig, "a", "key nonsense"), -EINVAL);
    assert_int_equal(rig_message(rig, "a", "key wipe"), 0);
    assert_line(rig, "a", DMI_STATUS_TABLE,
                "aes-cbc-plain 00000000000000000000000000000000 0 8:0 0");
    assert_int_equal(rig_resume(rig, "a"), -EAGAIN);
    assert_true(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_int_equal(rig_message(rig, "a", "key set 0011"), -EINVAL);
    assert_int_equal(rig_message(rig, "a", "key set zz" KEY32), -EINVAL);
    assert_int_equal(rig_message(rig, "a",
                                 "key set ff"
                                 "112233445566778899aabbccddeeff"),
                     0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_line(rig, "a", DMI_STATUS_TABLE,
                "aes-cbc-plain ff112233445566778899aabbccddeeff 0 8:0 0");
}

static void snapshots_are_handed_over(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "old", "snapshot", 8, "8:0 8:1 P 16");
    rig_create(rig, "new");
    assert_int_equal(rig_load(rig, "new", "snapshot", 8, "8:0 8:1 P 16"), 0);
    assert_int_equal(rig_resume(rig, "new"), -EINVAL);
    assert_logged(rig, "Unable to perform snapshot handover until source is suspended.");
    assert_int_equal(rig_suspend(rig, "old"), 0);
    assert_int_equal(rig_resume(rig, "old"), -EINVAL);
    assert_logged(rig, "Unable to resume snapshot source until handover completes.");
    assert_int_equal(rig_resume(rig, "new"), 0);
    assert_line(rig, "new", 0, "32/131072 32");
    assert_line(rig, "old", 0, "Invalid");
}

static void an_array_with_superblocks_is_synced_once(void **state)
{
    struct rig *rig = *state;
    struct dmi_sim_disk disk = {.device = {8, 3}, .sectors = RIG_DISK_SECTORS, .path = "/dev/sim3"};

    assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, NULL), 0);
    rig_create(rig, "a");
    assert_int_equal(rig_load(rig, "a", "raid", 64, "raid1 1 0 2 8:2 8:0 - 8:1"), -EINVAL);
    assert_logged(rig, "Unable to assemble array: Invalid superblocks");
    assert_int_equal(rig_load(rig, "a", "raid", 64, SYNCED_ONCE), 0);
    assert_line(rig, "a", DMI_QUERY_INACTIVE_TABLE, "raid1 2 aa 0/64 idle 0 0 -");
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_line(rig, "a", 0, "raid1 2 AA 64/64 idle 0 0 -");
    assert_int_equal(rig_status(rig, "a", 0).event_nr, 1);
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_line(rig, "a", 0, "raid1 2 AA 0/64 frozen 0 0 -");
    assert_int_equal(rig_remove(rig, "a"), 0);

    rig_live(rig, "a", "raid", 64, SYNCED_ONCE);
    assert_line(rig, "a", 0, "raid1 2 AA 64/64 idle 0 0 -");
    assert_int_equal(rig_status(rig, "a", 0).event_nr, 0);
}

static void a_cow_device_remembers_its_chunk_size(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "snapshot", 8, "8:0 8:1 P 16");
    assert_int_equal(rig_remove(rig, "a"), 0);
    rig_live(rig, "a", "snapshot", 8, "8:0 8:1 P 32");
    assert_line(rig, "a", DMI_STATUS_TABLE, "8:0 8:1 P 16");
    assert_int_equal(rig_remove(rig, "a"), 0);
    assert_int_equal(dmi_sim_disk_wipe(rig->sim, (struct dmi_device){8, 1}), 0);
    rig_live(rig, "a", "snapshot", 8, "8:0 8:1 P 32");
    assert_line(rig, "a", DMI_STATUS_TABLE, "8:0 8:1 P 32");
}

static void a_pool_counts_what_messages_make(void **state)
{
    static const struct {
        const char *message;
        int rc;
    } messages[] = {
        {"create_thin 0", 0},
        {"create_thin 0", -EEXIST},
        {"create_thin 16777216", -EINVAL},
        {"create_thin", -EINVAL},
        {"create_snap 1 0", 0},
        {"create_snap 2 9", -ENODATA},
        {"create_thin 3", 0},
        {"delete 9", -ENODATA},
        {"delete 3", 0},
        {"set_transaction_id 1 2", -EINVAL},
        {"set_transaction_id 0 7", 0},
        {"reserve_metadata_snap", 0},
        {"reserve_metadata_snap", -EBUSY},
        {"release_metadata_snap", 0},
        {"release_metadata_snap", -EINVAL},
        {"nonsense", -EINVAL},
    };
    struct rig *rig = *state;

    rig_live(rig, "a", "thin-pool", 1280, "8:0 8:1 128 0");
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        assert_int_equal(rig_message(rig, "a", messages[i].message), messages[i].rc);
    assert_line(rig, "a", 0, "7 1649/16384 0/10 - rw discard_passdown queue_if_no_space - 1024 ");
}

static void thin_devices_follow_their_pool(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target thin = {.length = 64, .type = "thin", .params = "254:0 0"};
    const struct dmi_id id = by_name("thin");
    struct dmi_info info;

    rig_create(rig, "pool");
    assert_int_equal(rig_load(rig, "pool", "thin-pool", 1280, "8:0 8:1 128 0"), 0);
    assert_int_equal(rig_resume(rig, "pool"), 0);
    rig_create(rig, "thin");
    assert_int_equal(rig_load(rig, "thin", "thin", 64, "254:0 0"), -ENODATA);
    assert_int_equal(rig_message(rig, "pool", "create_thin 0"), 0);
    assert_int_equal(rig_load(rig, "thin", "thin", 64, "254:0 0"), 0);
    assert_int_equal(rig_resume(rig, "thin"), 0);
    assert_line(rig, "thin", 0, "0 -");
    assert_int_equal(rig_message(rig, "pool", "delete 0"), -EBUSY);
    assert_int_equal(rig_suspend(rig, "pool"), 0);
    assert_true(rig_status(rig, "thin", 0).flags & DMI_INTERNAL_SUSPEND);
    assert_int_equal(dmi_table_load(&rig->dm, &id, &thin, 1, 0, &info), -EINVAL);
    assert_logged(rig, "Unable to activate thin device while pool is suspended");
    assert_int_equal(rig_resume(rig, "pool"), 0);
    assert_false(rig_status(rig, "thin", 0).flags & DMI_INTERNAL_SUSPEND);
    assert_int_equal(rig_remove(rig, "pool"), -EBUSY);
}

static void a_pool_comes_back_with_its_volumes(void **state)
{
    struct rig *rig = *state;

    /* Through two different linear devices that lead to one place. */
    rig_live(rig, "m1", "linear", 4096, "8:0 8");
    rig_live(rig, "pool", "thin-pool", 1280, "/dev/mapper/m1 8:1 128 0");
    assert_int_equal(rig_message(rig, "pool", "create_thin 5"), 0);
    assert_int_equal(rig_remove(rig, "pool"), 0);
    assert_int_equal(rig_remove(rig, "m1"), 0);
    rig_live(rig, "m2", "linear", 4096, "8:0 8");
    rig_create(rig, "pool");
    assert_int_equal(rig_load(rig, "pool", "thin-pool", 1280, "/dev/mapper/m2 8:1 256 0"), -EINVAL);
    assert_logged(rig, "changing the data block size (from 128 to 256) is not supported");
    assert_int_equal(rig_load(rig, "pool", "thin-pool", 1280, "/dev/mapper/m2 8:1 128 0"), 0);
    assert_int_equal(rig_resume(rig, "pool"), 0);
    assert_int_equal(rig_message(rig, "pool", "create_thin 5"), -EEXIST);
}

static void a_pool_stays_with_its_devices(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "thin-pool", 1280, "8:0 8:1 128 0");
    assert_int_equal(rig_load(rig, "a", "thin-pool", 1280, "8:0 8:2 128 0"), -EBUSY);
    assert_logged(rig, "data device already in use by a pool");
    assert_int_equal(rig_load(rig, "a", "thin-pool", 1280, "8:2 8:1 128 0"), -EINVAL);
    assert_logged(rig, "different pool cannot replace a pool");
    rig_create(rig, "b");
    assert_int_equal(rig_load(rig, "b", "thin-pool", 1280, "8:0 8:1 128 0"), -EBUSY);
    assert_logged(rig, "metadata device already in use by a pool");
    assert_int_equal(rig_load(rig, "a", "thin-pool", 1280, "8:0 8:1 128 0 1 ignore_discard"),
                     -EINVAL);
    assert_int_equal(rig_load(rig, "a", "thin-pool", 1280, "8:0 8:1 128 0 1 read_only"), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_status(rig, "a", 0).event_nr, 1); /* the mode changed */
    assert_int_equal(rig_message(rig, "a", "create_thin 0"), -EOPNOTSUPP);
}

static void caches_take_values_and_ranges(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "cache", 1024, "8:0 8:1 8:2 128 1 passthrough default 0");
    assert_int_equal(rig_message(rig, "a", "migration_threshold 100"), 0);
    assert_int_equal(rig_message(rig, "a", "migration_threshold x"), -EINVAL);
    assert_int_equal(rig_message(rig, "a", "nonsense"), -EINVAL);
    assert_int_equal(rig_message(rig, "a", "invalidate_cblocks 1 5-9"), 0);
    assert_int_equal(rig_message(rig, "a", "invalidate_cblocks 5-5"), -EINVAL);
    assert_int_equal(rig_message(rig, "a", "invalidate_cblocks 1024"), -EINVAL);
    assert_line(rig, "a", 0,
                "8 10/16384 128 0/1024 0 0 0 0 0 0 0 1 passthrough 2 migration_threshold 100 smq "
                "0 rw - ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_reasons),
        RIG_TEST(keys_change_while_suspended),
        RIG_TEST(snapshots_are_handed_over),
        RIG_TEST(an_array_with_superblocks_is_synced_once),
        RIG_TEST(a_cow_device_remembers_its_chunk_size),
        RIG_TEST(a_pool_counts_what_messages_make),
        RIG_TEST(thin_devices_follow_their_pool),
        RIG_TEST(a_pool_comes_back_with_its_volumes),
        RIG_TEST(a_pool_stays_with_its_devices),
        RIG_TEST(caches_take_values_and_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
