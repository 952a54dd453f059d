/* SPDX-License-Identifier: Apache-2.0 */
/* The table of leases: its file, its slots, and the way back of one device. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lease.h"
#include "server_rig.h"

static const char BOOT[] = "11111111-2222-3333-4444-555555555555";
static const char OTHER_BOOT[] = "99999999-2222-3333-4444-555555555555";

/* --- the file --- */

struct place {
    char folder[64], path[96];
    struct lease_table *table;
    int fd;
    enum lease_found found;
};

static int place_setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    (void)strcpy(place->folder, "/tmp/dmrpc-lease-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof(place->path), "%s/leases", place->folder);
    place->fd = -1;
    *state = place;
    return 0;
}

static int place_teardown(void **state)
{
    struct place *place = *state;

    (void)unlink(place->path);
    (void)rmdir(place->folder);
    free(place);
    return 0;
}

static int place_open(struct place *place, const char *boot)
{
    return lease_table_open(place->path, boot, &place->table, &place->fd, &place->found);
}

static void place_close(struct place *place)
{
    place->table = lease_table_free(place->table);
    assert_int_equal(close(place->fd), 0);
}

static struct lease *give(struct lease_table *table, uint32_t minor, uint64_t deadline)
{
    struct lease *lease = lease_claim(table);

    assert_non_null(lease);
    lease->device = (struct dmi_device){254, minor};
    lease->deadline = deadline;
    lease->confirmed = true;
    lease->uuid[0] = '\0';
    lease->diskseq = 0;
    lease_publish(lease);
    return lease;
}

static void test_a_table_outlives_its_opening(void **state)
{
    struct place *place = *state;
    struct stat st;

    assert_int_equal(place_open(place, BOOT), 0);
    assert_int_equal(place->found, LEASE_FOUND_NOTHING);
    assert_int_equal(stat(place->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, sizeof(struct lease_table));
    (void)give(place->table, 7, 1000);
    place_close(place);

    assert_int_equal(place_open(place, BOOT), 0);
    assert_int_equal(place->found, LEASE_FOUND_TABLE);
    struct lease *lease = lease_find(place->table, (struct dmi_device){254, 7});
    assert_non_null(lease);
    assert_int_equal(lease->deadline, 1000);
    place_close(place);
}

static void test_of_an_earlier_boot_nothing_counts(void **state)
{
    struct place *place = *state;

    assert_int_equal(place_open(place, OTHER_BOOT), 0);
    (void)give(place->table, 7, 1000);
    place_close(place);
    assert_int_equal(place_open(place, BOOT), 0);
    assert_int_equal(place->found, LEASE_FOUND_OLD);
    assert_int_equal(place->table->head.live, 0);
    assert_null(lease_find(place->table, (struct dmi_device){254, 7}));
    place_close(place);
}

static void overwrite(const struct place *place, off_t at, const char *bytes)
{
    int fd = open(place->path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
    assert_int_equal(close(fd), 0);
}

static void test_a_damaged_table_is_begun_anew(void **state)
{
    struct place *place = *state;
    const off_t sizes[] = {1, 255, sizeof(struct lease_table) - 1, sizeof(struct lease_table) + 1};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) + 1; i++) {
        assert_int_equal(place_open(place, BOOT), 0);
        (void)give(place->table, 7, 1000);
        place_close(place);
        if (i < sizeof(sizes) / sizeof(sizes[0])) {
            assert_int_equal(truncate(place->path, sizes[i]), 0);
        } else {
            overwrite(place, 0, "nonsense");
        }
        assert_int_equal(place_open(place, BOOT), 0);
        assert_int_equal(place->found, LEASE_FOUND_DAMAGED);
        assert_int_equal(place->table->head.live, 0);
        place_close(place);
        assert_int_equal(unlink(place->path), 0);
    }
}

static void test_only_a_plain_file_of_ours_is_used(void **state)
{
    struct place *place = *state;
    char other[128];

    (void)snprintf(other, sizeof(other), "%s/other", place->folder);
    assert_int_equal(place_open(place, BOOT), 0);
    place_close(place);
    assert_int_equal(chmod(place->path, 0640), 0);
    assert_int_equal(place_open(place, BOOT), -EPERM);
    assert_int_equal(chmod(place->path, 0600), 0);
    assert_int_equal(link(place->path, other), 0);
    assert_int_equal(place_open(place, BOOT), -EPERM);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(symlink(other, place->path), 0);
    assert_int_equal(place_open(place, BOOT), -ELOOP);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_int_equal(place_open(place, BOOT), -EPERM);
    assert_int_equal(unlink(other), 0);
}

static void test_whoever_has_a_copy_of_the_descriptor_has_the_lock(void **state)
{
    struct place *place = *state;
    struct place second = *place;

    assert_int_equal(place_open(place, BOOT), 0);
    int copy = dup(place->fd);
    assert_int_equal(place_open(&second, BOOT), -EWOULDBLOCK);
    place_close(place);
    assert_int_equal(place_open(&second, BOOT), -EWOULDBLOCK);
    assert_int_equal(close(copy), 0);
    assert_int_equal(place_open(&second, BOOT), 0);
    place_close(&second);
}

/* --- slots --- */

static void test_the_life_of_a_slot(void **state)
{
    struct lease_table *table;

    (void)state;
    assert_int_equal(lease_table_new(&table), 0);
    struct lease *lease = lease_claim(table);
    assert_int_equal(lease->state, LEASE_FILLING);
    lease->device = (struct dmi_device){254, 3};
    assert_null(lease_find(table, lease->device));
    lease_publish(lease);
    assert_ptr_equal(lease_find(table, lease->device), lease);
    assert_false(lease_move(lease, LEASE_ENDING, LEASE_TAKEN));
    assert_true(lease_move(lease, LEASE_HELD, LEASE_ENDING));
    assert_true(lease_move(lease, LEASE_ENDING, LEASE_TAKEN));
    assert_true(lease_is_live(lease));
    assert_true(lease_move(lease, LEASE_TAKEN, LEASE_ENDED));
    assert_null(lease_find(table, lease->device));
    assert_int_equal(table->head.live, 1);
    uint32_t generation = lease->generation;
    lease_free(table, lease);
    assert_int_equal(table->head.live, 0);
    assert_int_equal(table->head.used, 0);
    assert_int_not_equal(lease_claim(table)->generation, generation);
    (void)lease_table_free(table);
}

static void test_a_full_table(void **state)
{
    struct lease_table *table;

    (void)state;
    assert_int_equal(lease_table_new(&table), 0);
    for (uint32_t i = 0; i < LEASE_SLOTS; i++) {
        (void)give(table, i, 1);
    }
    assert_null(lease_claim(table));
    assert_int_equal(table->head.live, LEASE_SLOTS);
    lease_free(table, lease_find(table, (struct dmi_device){254, 99}));
    assert_non_null(lease_claim(table));
    assert_null(lease_claim(table));
    (void)lease_table_free(table);
}

static void test_when_the_guardian_may_act(void **state)
{
    struct lease lease = {.deadline = 1000};

    (void)state;
    assert_int_equal(lease_overdue(&lease, 50), 1050);
    lease.assured = 900;
    assert_int_equal(lease_overdue(&lease, 50), 1050);
    lease.assured = 1200;
    assert_int_equal(lease_overdue(&lease, 50), 1250);
    lease.deadline = LEASE_NEVER;
    assert_true(lease_overdue(&lease, 50) == LEASE_NEVER);
}

static void test_what_the_next_start_takes_over(void **state)
{
    struct lease_table *table;

    (void)state;
    assert_int_equal(lease_table_new(&table), 0);
    struct lease *timed = give(table, 0, 5000);
    struct lease *bound = give(table, 1, LEASE_NEVER);
    bound->terms = LEASE_ON_DISCONNECT;
    struct lease *stuck = give(table, 2, 5000);
    stuck->confirmed = false;
    struct lease *ending = give(table, 3, 5000);
    ending->state = LEASE_TAKEN;
    struct lease *filling = lease_claim(table);
    struct lease *endless = give(table, 5, LEASE_NEVER);
    struct lease *odd = give(table, 6, 5000);
    odd->terms = 0x80;
    struct lease *open_end = give(table, 7, 5000);
    memset(open_end->uuid, 'u', sizeof(open_end->uuid));
    struct lease *wild = give(table, 8, 5000);
    wild->state = 77;

    assert_int_equal(lease_adopt(table, 4000), 4);
    assert_int_equal(table->head.live, 4);
    assert_int_equal(timed->deadline, 5000);
    assert_int_equal(bound->deadline, 4000);
    assert_int_equal(bound->terms, 0);
    assert_int_equal(stuck->deadline, 4000);
    assert_int_equal(ending->deadline, 4000);
    assert_int_equal(ending->state, LEASE_HELD);
    assert_int_equal(filling->state, LEASE_FREE);
    assert_int_equal(endless->state, LEASE_FREE);
    assert_int_equal(odd->state, LEASE_FREE);
    assert_int_equal(open_end->state, LEASE_FREE);
    assert_int_equal(wild->state, LEASE_FREE);
    (void)lease_table_free(table);
}

/* --- the way back --- */

struct scene {
    struct lease lease;
    struct dmi_id id;
    struct dmi dm;
    struct rig rig;
    enum lease_outcome outcome;
};

static int scene_setup(void **state)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, LEASE_SLOT_BYTES, sizeof(struct scene)), 0);
    struct scene *scene = memory;
    memset(scene, 0, sizeof(*scene));
    rig_init(&scene->rig);
    rig_device(&scene->rig, "d", "U-1");
    dmi_init(&scene->dm, scene->rig.dispatcher.host.transport);
    scene->id = (struct dmi_id){.kind = DMI_BY_NAME, .name = "d"};
    scene->lease.device = (struct dmi_device){254, 0};
    scene->lease.confirmed = true;
    (void)strcpy(scene->lease.uuid, "U-1");
    *state = scene;
    return 0;
}

static int scene_teardown(void **state)
{
    struct scene *scene = *state;

    rig_done(&scene->rig);
    free(scene);
    return 0;
}

static uint32_t flags_of(struct scene *scene)
{
    struct dmi_info info;

    assert_int_equal(dmi_device_status(&scene->dm, &scene->id, 0, &info), 0);
    return info.flags;
}

static void suspend(struct scene *scene)
{
    struct dmi_info info;

    assert_int_equal(dmi_device_suspend(&scene->dm, &scene->id, 0, &info), 0);
}

static void load(struct scene *scene)
{
    const struct dmi_target target = {.length = 16, .type = "error", .params = ""};
    struct dmi_info info;

    assert_int_equal(dmi_table_load(&scene->dm, &scene->id, &target, 1, 0, &info), 0);
}

static int roll_back(struct scene *scene)
{
    return lease_roll_back(&scene->lease, &scene->dm, &scene->outcome);
}

static bool live_is(struct scene *scene, const char *type)
{
    struct dmi_table table = {0};

    assert_int_equal(dmi_table_status(&scene->dm, &scene->id, DMI_STATUS_TABLE, &table), 0);
    bool is = table.count == 1 && strcmp(table.targets[0].type, type) == 0;
    dmi_table_done(&table);
    return is;
}

static void test_a_device_is_resumed(void **state)
{
    struct scene *scene = *state;

    suspend(scene);
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_ROLLED_BACK);
    assert_false(flags_of(scene) & DMI_SUSPEND);
}

static void test_a_table_from_after_the_suspend_is_cleared(void **state)
{
    struct scene *scene = *state;

    suspend(scene);
    load(scene);
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(flags_of(scene), DMI_ACTIVE_PRESENT);
    assert_true(live_is(scene, "zero"));
}

static void test_a_table_from_before_is_made_live(void **state)
{
    struct scene *scene = *state;

    load(scene);
    suspend(scene);
    scene->lease.terms = LEASE_HAD_INACTIVE;
    assert_int_equal(roll_back(scene), 0);
    assert_true(live_is(scene, "error"));
}

static void test_what_somebody_resumed_is_left_alone(void **state)
{
    struct scene *scene = *state;

    load(scene);
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_RESUMED);
    assert_true(flags_of(scene) & DMI_INACTIVE_PRESENT);
}

static void test_a_suspend_that_may_not_be_over_is_waited_for(void **state)
{
    struct scene *scene = *state;

    scene->lease.confirmed = false;
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_ROLLED_BACK);
    assert_false(flags_of(scene) & DMI_SUSPEND);
    suspend(scene);
    assert_int_equal(roll_back(scene), 0);
    assert_false(flags_of(scene) & DMI_SUSPEND);
}

static void test_a_device_that_is_gone_or_another(void **state)
{
    struct scene *scene = *state;

    suspend(scene);
    (void)strcpy(scene->lease.uuid, "U-2");
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_REMOVED);
    assert_true(flags_of(scene) & DMI_SUSPEND);
    rig_remove(&scene->rig, "d");
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_REMOVED);
}

static void test_one_that_was_made_anew_is_another(void **state)
{
    struct scene *scene = *state;

    scene->lease.diskseq = lease_diskseq(&scene->dm, scene->lease.device);
    assert_int_not_equal(scene->lease.diskseq, 0);
    rig_remove(&scene->rig, "d");
    rig_device(&scene->rig, "d", "U-1");
    suspend(scene);
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_REMOVED);
    assert_true(flags_of(scene) & DMI_SUSPEND);
    assert_int_equal(lease_diskseq(&scene->dm, (struct dmi_device){4095, 4095}), 0);
}

static void test_a_resume_that_a_signal_ends_is_repeated(void **state)
{
    struct scene *scene = *state;

    suspend(scene);
    rig_fault(&scene->rig, DMI_DEV_SUSPEND, EINTR, 3);
    assert_int_equal(roll_back(scene), 0);
    assert_false(flags_of(scene) & DMI_SUSPEND);
}

static void test_a_rename_and_a_later_uuid_change_nothing(void **state)
{
    struct scene *scene = *state;

    suspend(scene);
    rig_rename(&scene->rig, "d", "e");
    scene->id.name = "e";
    scene->lease.uuid[0] = '\0';
    assert_int_equal(roll_back(scene), 0);
    assert_false(flags_of(scene) & DMI_SUSPEND);
}

static void test_failures_are_told(void **state)
{
    struct scene *scene = *state;

    scene->outcome = 99;
    suspend(scene);
    rig_fault(&scene->rig, DMI_DEV_STATUS, EIO, 1);
    assert_int_equal(roll_back(scene), -EIO);
    rig_fault(&scene->rig, DMI_DEV_SUSPEND, EIO, 1);
    assert_int_equal(roll_back(scene), -EIO);
    load(scene);
    rig_fault(&scene->rig, DMI_TABLE_CLEAR, EIO, 1);
    assert_int_equal(roll_back(scene), -EIO);
    /* Nothing is believed to be gone because another step says ENXIO. */
    rig_fault(&scene->rig, DMI_DEV_SUSPEND, ENXIO, 1);
    assert_int_equal(roll_back(scene), -ENXIO);
    assert_int_equal(scene->outcome, 99);
    assert_int_equal(roll_back(scene), 0);
    assert_int_equal(scene->outcome, LEASE_ROLLED_BACK);
}

static void test_the_boot_id_and_the_clock(void **state)
{
    char id[LEASE_BOOT_ID + 1];

    (void)state;
    assert_int_equal(lease_boot_id(id), 0);
    assert_int_equal(strlen(id), LEASE_BOOT_ID);
    uint64_t before = lease_clock();
    assert_true(before > 0 && lease_clock() >= before);
}

#define AT(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)
#define ON(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT(test_a_table_outlives_its_opening),
        AT(test_of_an_earlier_boot_nothing_counts),
        AT(test_a_damaged_table_is_begun_anew),
        AT(test_only_a_plain_file_of_ours_is_used),
        AT(test_whoever_has_a_copy_of_the_descriptor_has_the_lock),
        cmocka_unit_test(test_the_life_of_a_slot),
        cmocka_unit_test(test_a_full_table),
        cmocka_unit_test(test_when_the_guardian_may_act),
        cmocka_unit_test(test_what_the_next_start_takes_over),
        ON(test_a_device_is_resumed),
        ON(test_a_table_from_after_the_suspend_is_cleared),
        ON(test_a_table_from_before_is_made_live),
        ON(test_what_somebody_resumed_is_left_alone),
        ON(test_a_suspend_that_may_not_be_over_is_waited_for),
        ON(test_a_device_that_is_gone_or_another),
        ON(test_one_that_was_made_anew_is_another),
        ON(test_a_resume_that_a_signal_ends_is_repeated),
        ON(test_a_rename_and_a_later_uuid_change_nothing),
        ON(test_failures_are_told),
        cmocka_unit_test(test_the_boot_id_and_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
