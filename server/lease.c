/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease table: its file, its slots, and the way back of one device. The daemon
 * and the guardian share all of it. It knows no loop, no calls and no connections.
 */
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char MAGIC[8] = "dmlease1";

_Static_assert(sizeof(struct lease) == LEASE_SLOT_BYTES, "a slot has outgrown its size");
_Static_assert(sizeof(struct lease_head) == LEASE_SLOT_BYTES, "the head has outgrown its size");

uint64_t lease_clock(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_BOOTTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* A small file's first bytes, with a NUL behind. */
static int read_small(const char *path, char *ret_bytes, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, ret_bytes, size - 1);
    int rc = n < 0 ? -errno : 0;
    (void)close(fd);
    if (rc == 0) {
        ret_bytes[n] = '\0';
    }
    return rc;
}

int lease_boot_id(char ret_id[LEASE_BOOT_ID + 1])
{
    char id[LEASE_BOOT_ID + 1];
    int rc = read_small("/proc/sys/kernel/random/boot_id", id, sizeof(id));

    if (rc == 0 && strlen(id) != LEASE_BOOT_ID) {
        rc = -ENODATA;
    }
    if (rc == 0) {
        memcpy(ret_id, id, sizeof(id));
    }
    return rc;
}

/* --- the table --- */

static void write_head(struct lease_table *table, const char *boot_id)
{
    memset(table, 0, sizeof(*table));
    memcpy(table->head.magic, MAGIC, sizeof(MAGIC));
    table->head.slots = LEASE_SLOTS;
    table->head.slot_bytes = LEASE_SLOT_BYTES;
    memcpy(table->head.boot_id, boot_id, strnlen(boot_id, LEASE_BOOT_ID));
}

static enum lease_found judge(const struct lease_table *table, const char *boot_id)
{
    const struct lease_head *head = &table->head;

    if (memcmp(head->magic, MAGIC, sizeof(MAGIC)) != 0 || head->slots != LEASE_SLOTS ||
        head->slot_bytes != LEASE_SLOT_BYTES || head->boot_id[LEASE_BOOT_ID] != '\0' ||
        head->used > LEASE_SLOTS || head->live > LEASE_SLOTS) {
        return LEASE_FOUND_DAMAGED;
    }
    return strcmp(head->boot_id, boot_id) == 0 ? LEASE_FOUND_TABLE : LEASE_FOUND_OLD;
}

/* Only what nobody else could have written or can write is believed. */
static int check_file(int fd, off_t *ret_size)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0 ||
        st.st_nlink != 1) {
        return -EPERM;
    }
    *ret_size = st.st_size;
    return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

/* All of the file's memory is there from now on: a store that finds none would be a crash. */
static int resize(int fd, off_t size)
{
    if (size != (off_t)sizeof(struct lease_table) && ftruncate(fd, 0) < 0) {
        return -errno;
    }
    return -posix_fallocate(fd, 0, sizeof(struct lease_table));
}

/* NULL with errno. */
static struct lease_table *map(int fd, int flags)
{
    void *memory =
        mmap(NULL, sizeof(struct lease_table), PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

int lease_table_open(const char *path, const char *boot_id, struct lease_table **ret_table,
                     int *ret_fd, enum lease_found *ret_found)
{
    struct lease_table *table = NULL;
    off_t size = 0;

    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = check_file(fd, &size);
    if (rc == 0) {
        rc = resize(fd, size);
    }
    if (rc == 0) {
        table = map(fd, MAP_POPULATE);
        rc = table ? 0 : -errno;
    }
    if (!table) {
        (void)close(fd);
        return rc;
    }
    if (size == 0) {
        *ret_found = LEASE_FOUND_NOTHING;
    } else {
        *ret_found = judge(table, boot_id);
    }
    if (*ret_found != LEASE_FOUND_TABLE) {
        write_head(table, boot_id);
    }
    *ret_table = table;
    *ret_fd = fd;
    return 0;
}

int lease_table_new(struct lease_table **ret_table)
{
    *ret_table = map(-1, MAP_ANONYMOUS);
    return *ret_table ? 0 : -ENOMEM;
}

struct lease_table *lease_table_free(struct lease_table *table)
{
    if (table) {
        (void)munmap(table, sizeof(*table));
    }
    return NULL;
}

/* --- a slot --- */

bool lease_move(struct lease *lease, enum lease_state from, enum lease_state to)
{
    unsigned int expected = from;

    return atomic_compare_exchange_strong(&lease->state, &expected, to);
}

struct lease *lease_claim(struct lease_table *table)
{
    for (unsigned int i = 0; i < LEASE_SLOTS; i++) {
        struct lease *lease = &table->slots[i];
        if (lease_move(lease, LEASE_FREE, LEASE_FILLING)) {
            if (table->head.used <= i) {
                table->head.used = i + 1;
            }
            table->head.live++;
            lease->generation++;
            lease->terms = 0;
            lease->outcome = 0;
            lease->reason = 0;
            lease->confirmed = false;
            lease->deadline = LEASE_NEVER;
            lease->assured = 0;
            lease->retry = lease->connection = 0;
            return lease;
        }
    }
    return NULL;
}

void lease_publish(struct lease *lease)
{
    lease->state = LEASE_HELD;
}

void lease_free(struct lease_table *table, struct lease *lease)
{
    lease->state = LEASE_FREE;
    if (--table->head.live == 0) {
        table->head.used = 0;
    }
}

bool lease_is_live(const struct lease *lease)
{
    unsigned int state = lease->state;

    return state == LEASE_HELD || state == LEASE_ENDING || state == LEASE_TAKEN;
}

struct lease *lease_find(struct lease_table *table, struct dmi_device device)
{
    for (unsigned int i = 0; i < table->head.used; i++) {
        struct lease *lease = &table->slots[i];
        if (lease_is_live(lease) && dmi_device_equal(lease->device, device)) {
            return lease;
        }
    }
    return NULL;
}

uint64_t lease_overdue(const struct lease *lease, uint64_t grace)
{
    uint64_t deadline = lease->deadline;
    uint64_t assured = lease->assured;
    uint64_t from = assured > deadline ? assured : deadline;

    return from > LEASE_NEVER - grace ? LEASE_NEVER : from + grace;
}

/* --- the next start --- */

static bool makes_sense(const struct lease *lease)
{
    const unsigned int terms = LEASE_ON_DISCONNECT | LEASE_HAD_INACTIVE;

    return lease->state <= LEASE_ENDED && !(lease->terms & ~terms) &&
           memchr(lease->uuid, '\0', sizeof(lease->uuid)) &&
           (lease->deadline != LEASE_NEVER || lease->terms & LEASE_ON_DISCONNECT);
}

static void adopt(struct lease *lease, uint64_t now)
{
    if (lease->terms & LEASE_ON_DISCONNECT || !lease->confirmed || lease->state != LEASE_HELD) {
        lease->deadline = now;
        lease->reason = LEASE_ORPHANED;
    }
    lease->terms &= ~(unsigned int)LEASE_ON_DISCONNECT;
    lease->assured = 0;
    lease->connection = lease->retry = 0;
    lease->state = LEASE_HELD;
}

size_t lease_adopt(struct lease_table *table, uint64_t now)
{
    unsigned int used = 0;
    unsigned int live = 0;
    size_t dropped = 0;

    for (unsigned int i = 0; i < LEASE_SLOTS; i++) {
        struct lease *lease = &table->slots[i];
        bool sense = makes_sense(lease);
        if (sense && (lease_is_live(lease) || lease->state == LEASE_ENDED)) {
            if (lease->state != LEASE_ENDED) {
                adopt(lease, now);
            }
            used = i + 1;
            live++;
        } else {
            dropped += lease->state != LEASE_FREE && lease->state != LEASE_FILLING;
            lease->state = LEASE_FREE;
        }
    }
    table->head.used = used;
    table->head.live = live;
    return dropped;
}

/* --- the way back --- */

uint64_t lease_diskseq(struct dmi *dm, struct dmi_device device)
{
    uint64_t diskseq = 0;

    (void)dmi_device_diskseq(dm, device, &diskseq);
    return diskseq;
}

/* Its uuid may have been set since; that of another device is another. */
bool lease_is_of(const struct lease *lease, const struct dmi_info *info, uint64_t diskseq)
{
    return dmi_device_equal(lease->device, info->device) &&
           (!lease->uuid[0] || strcmp(lease->uuid, info->uuid) == 0) &&
           (lease->diskseq == 0 || diskseq == 0 || lease->diskseq == diskseq);
}

/*
 * A plain resume would do nothing while a suspend is under way. A suspend of our own, which
 * waits for nothing itself, returns when that one has.
 */
static int wait_for_suspend(struct dmi *dm, const struct dmi_id *id, struct dmi_info *ret_info)
{
    (void)dmi_device_suspend(dm, id, DMI_NOFLUSH | DMI_SKIP_LOCKFS, ret_info);
    return dmi_device_status(dm, id, 0, ret_info);
}

int lease_resume(struct dmi *dm, const struct dmi_id *id, bool clears, struct dmi_info *info)
{
    int rc = 0;

    if (clears && info->flags & DMI_INACTIVE_PRESENT) {
        rc = dmi_table_clear(dm, id, info);
    }
    if (rc == 0) {
        do {
            rc = dmi_device_resume(dm, id, 0, DMI_UDEV_PRIMARY_SOURCE, info);
        } while (rc == -EINTR);
    }
    if (rc == 0) {
        rc = dmi_device_status(dm, id, 0, info);
    }
    if (rc == 0 && info->flags & DMI_SUSPEND) {
        rc = -EBUSY;
    }
    return rc;
}

int lease_roll_back(const struct lease *lease, struct dmi *dm, enum lease_outcome *ret_outcome)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = lease->device};
    struct dmi_info info;
    enum lease_outcome outcome = LEASE_ROLLED_BACK;

    int rc = dmi_device_status(dm, &id, 0, &info);
    if (rc == 0 && !lease_is_of(lease, &info, lease_diskseq(dm, lease->device))) {
        rc = -ENXIO;
    }
    if (rc == 0 && !(info.flags & DMI_SUSPEND) && !lease->confirmed) {
        rc = wait_for_suspend(dm, &id, &info);
    }
    if (rc == -ENXIO) {
        outcome = LEASE_REMOVED;
        rc = 0;
    } else if (rc == 0 && !(info.flags & DMI_SUSPEND)) {
        outcome = LEASE_RESUMED;
    } else if (rc == 0) {
        rc = lease_resume(dm, &id, !(lease->terms & LEASE_HAD_INACTIVE), &info);
    }
    if (rc == 0) {
        *ret_outcome = outcome;
    }
    return rc;
}
