/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of uevents.c: what messages say, and what gaps between them do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "uevents.h"

#define PATH   "/devices/virtual/block/dm-3"
#define HEAD   "change@" PATH "\0ACTION=change\0DEVPATH=" PATH "\0SUBSYSTEM=block\0"
#define NUMBER "MAJOR=254\0MINOR=3\0"
#define TAIL   NUMBER "DEVNAME=dm-3\0DEVTYPE=disk\0DISKSEQ=17\0SEQNUM=655"

/* The bytes end where valgrind and the sanitizers see a step too far. */
static bool parse(const char *message, size_t length, struct uevent *ret_uevent)
{
    char *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    memcpy(copy, message, length);
    bool ok = uevent_parse(copy, length, ret_uevent);
    free(copy);
    return ok;
}

#define PARSE(message, ret_uevent) parse(message, sizeof(message), ret_uevent)

static void test_resume(void **state)
{
    struct uevent uevent;

    (void)state;
    assert_true(PARSE(HEAD "DM_COOKIE=6291456\0" TAIL, &uevent));
    assert_true(uevent.is_disk && uevent.is_plain_change);
    assert_int_equal(uevent.device.major, 254);
    assert_int_equal(uevent.device.minor, 3);
    assert_int_equal(uevent.diskseq, 17);
    assert_int_equal(uevent.seqnum, 655);
    assert_int_equal(uevent.cookie, 6291456);
    /* Of a swap that changes the size. */
    assert_true(PARSE(HEAD "DM_COOKIE=6291456\0RESIZE=1\0" TAIL, &uevent));
    assert_true(uevent.is_plain_change);
    /* By an ioctl without a cookie, from a kernel that knows no DISKSEQ; keys of a newer one. */
    assert_true(PARSE(HEAD "NEW_KEY=1\0DEVNAME_X=y\0odd\0" NUMBER "DEVNAME=dm-3", &uevent));
    assert_true(uevent.is_plain_change);
    assert_int_equal(uevent.diskseq, 0);
    assert_int_equal(uevent.cookie, 0);
    assert_int_equal(uevent.seqnum, 0);
}

static void test_no_plain_change(void **state)
{
    struct uevent uevent;

    (void)state;
#define CAUSE(cause)                                                                               \
    assert_true(PARSE(HEAD cause "\0" TAIL, &uevent));                                             \
    assert_true(uevent.is_disk && !uevent.is_plain_change)
    CAUSE("SYNTH_UUID=0");
    CAUSE("DISK_RO=1");
    CAUSE("DISK_MEDIA_CHANGE=1");
    CAUSE("DM_TARGET=multipath\0DM_ACTION=PATH_FAILED");
    assert_true(PARSE("add@" PATH "\0ACTION=add\0SUBSYSTEM=block\0" TAIL, &uevent));
    assert_true(uevent.is_disk && !uevent.is_plain_change);
    assert_true(PARSE("remove@" PATH "\0ACTION=remove\0SUBSYSTEM=block\0" TAIL, &uevent));
    assert_true(uevent.is_disk && !uevent.is_plain_change);
}

/* Only their numbers are of interest. */
static void test_others(void **state)
{
    struct uevent uevent;

    (void)state;
#define OTHER(rest)                                                                                \
    assert_true(PARSE("change@/x\0ACTION=change\0SEQNUM=9\0" rest, &uevent));                      \
    assert_true(!uevent.is_disk && !uevent.is_plain_change && uevent.seqnum == 9)
    OTHER("SUBSYSTEM=block\0MAJOR=7\0MINOR=0\0DEVNAME=loop0");
    OTHER("SUBSYSTEM=block\0DEVNAME=mapper/dm-3");
    OTHER("SUBSYSTEM=bdi\0DEVNAME=dm-3");
    OTHER("SUBSYSTEM=block");
    OTHER("DEVNAME=dm-3");
    OTHER("SUBSYSTEM=net\0INTERFACE=@=\0");
}

static void test_malformed(void **state)
{
    struct uevent uevent = {.seqnum = 1};

    (void)state;
    assert_false(parse("", 0, &uevent));
    assert_false(PARSE("", &uevent));
    assert_false(PARSE("\0\0\0", &uevent));
    assert_false(PARSE("libudev\0\xfe\xed\xca\xfe", &uevent));
    assert_false(PARSE("@/x\0ACTION=\0", &uevent));
    assert_false(PARSE("change/x\0ACTION=change", &uevent));
    assert_false(PARSE("change@/x", &uevent));
    assert_false(PARSE("change@/x\0ACTION=add", &uevent));
    assert_false(PARSE("change@/x\0ACTION=changed", &uevent));
    assert_false(PARSE("change@/x\0ACTION=chang", &uevent));
    assert_false(PARSE("change@/x\0ACTION=change\0ACTION=change", &uevent));
    assert_false(PARSE(HEAD TAIL "\0MINOR=3", &uevent));
    assert_false(PARSE(HEAD TAIL "\0SEQNUM=656", &uevent));
#define BROKEN(rest) assert_false(PARSE(HEAD rest, &uevent))
    BROKEN("SEQNUM=");
    BROKEN("SEQNUM=-1");
    BROKEN("SEQNUM=0x1");
    BROKEN("SEQNUM=18446744073709551616");
    BROKEN("DEVNAME=dm-3");
    BROKEN("MAJOR=254\0DEVNAME=dm-3");
    BROKEN("MINOR=3\0DEVNAME=dm-3");
    BROKEN(NUMBER "DEVNAME=dm-");
    BROKEN(NUMBER "DEVNAME=dm-4");
    BROKEN(NUMBER "DEVNAME=dm-3p1");
    BROKEN("MAJOR=4294967296\0MINOR=3\0DEVNAME=dm-3");
    BROKEN(NUMBER "DEVNAME=dm-3\0DISKSEQ=x");
    BROKEN(NUMBER "DEVNAME=dm-3\0DM_COOKIE=4294967296");
    assert_int_equal(uevent.seqnum, 1); /* untouched */
}

static void test_limits_of_numbers(void **state)
{
    struct uevent uevent;

    (void)state;
    assert_true(PARSE(HEAD "SEQNUM=18446744073709551615\0DISKSEQ=18446744073709551615\0"
                           "DM_COOKIE=4294967295\0MAJOR=511\0MINOR=1048575\0DEVNAME=dm-1048575",
                      &uevent));
    assert_true(uevent.seqnum == UINT64_MAX && uevent.diskseq == UINT64_MAX);
    assert_true(uevent.cookie == UINT32_MAX && uevent.device.minor == 1048575);
}

/* Cut anywhere it is refused, or says less; changed anywhere it does no harm. */
static void test_cut_and_changed(void **state)
{
    static const char message[] = HEAD "DM_COOKIE=6291456\0RESIZE=1\0" TAIL;
    char changed[sizeof(message)];
    struct uevent uevent;

    (void)state;
    for (size_t length = 0; length < sizeof(message); length++) {
        bool ok = parse(message, length, &uevent);
        assert_true(!ok || (length > 0 && message[length - 1] == '\0'));
    }
    for (size_t i = 0; i < sizeof(message); i++) {
        for (int byte = 0; byte < 256; byte++) {
            memcpy(changed, message, sizeof(message));
            changed[i] = (char)byte;
            (void)parse(changed, sizeof(changed), &uevent);
        }
    }
}

/* --- gaps --- */

struct heard {
    struct uevents_user user; /* first: the callbacks cast */
    int told, gaps;
};

static void on_told(struct uevents_user *user, const struct uevent *uevent)
{
    assert_int_equal(uevent->device.minor, 3);
    ((struct heard *)(void *)user)->told++;
}

static void on_lost(struct uevents_user *user, uint64_t count)
{
    assert_int_equal(count, 0);
    ((struct heard *)(void *)user)->gaps++;
}

#define TAKE(message) uevents_take(&uevents, message, sizeof(message))

static void test_gaps(void **state)
{
    struct heard heard = {.user = {.told = on_told, .lost = on_lost}};
    struct uevents uevents;

    (void)state;
    uevents_init(&uevents, NULL, &heard.user);
    TAKE(HEAD TAIL); /* 655, the first */
    TAKE("add@/x\0ACTION=add\0SEQNUM=656");
    TAKE("add@/x\0ACTION=add");
    assert_int_equal(heard.gaps, 0);
    TAKE("add@/x\0ACTION=add\0SEQNUM=658");
    assert_int_equal(heard.gaps, 1);
    TAKE("add@/x\0ACTION=add\0SEQNUM=657"); /* overtaken */
    TAKE("add@/x\0ACTION=add\0SEQNUM=659");
    TAKE("garbage");
    assert_int_equal(heard.gaps, 1);
    assert_int_equal(heard.told, 1);
    TAKE("remove@" PATH "\0ACTION=remove\0SUBSYSTEM=block\0" NUMBER "DEVNAME=dm-3\0SEQNUM=700");
    assert_int_equal(heard.gaps, 2);
    assert_int_equal(heard.told, 2);
    uevents_drain(&uevents); /* nothing: it is closed */
    uevents_close(&uevents);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_no_plain_change),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits_of_numbers),
        cmocka_unit_test(test_cut_and_changed),
        cmocka_unit_test(test_gaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
