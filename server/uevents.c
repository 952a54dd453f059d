/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's uevent socket. It knows what messages look like and which the kernel has
 * dropped, not what anybody makes of them.
 *
 * A gap in the numbers alone is no loss that can be told: uevents of network interfaces
 * go to their own network namespace only, and newer kernels let two overtake each other.
 * What was dropped because the socket was full, the kernel counts.
 */
#include "uevents.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    KERNEL_GROUP = 1,         /* of the two; udev's own messages go to the other */
    RECEIVE_BYTES = 4 << 20,  /* some ten thousand messages */
    MESSAGE_BYTES = 8192,     /* the kernel's are of 4 KiB at the most */
    TURN_MESSAGES = 64,       /* others have their turn then */
    DRAIN_MESSAGES = 1 << 16, /* more than were there when it began */
};

/* --- messages --- */

enum key {
    ACTION,
    SUBSYSTEM,
    DEVNAME,
    MAJOR,
    MINOR,
    DISKSEQ,
    SEQNUM,
    DM_COOKIE,
    FIRST_CAUSE, /* from here on: that a change has another cause */
    SYNTH_UUID = FIRST_CAUSE,
    DISK_RO,
    DISK_MEDIA_CHANGE,
    DM_ACTION,
    KEYS,
};

static const char *const key_names[KEYS] = {
    [ACTION] = "ACTION",
    [SUBSYSTEM] = "SUBSYSTEM",
    [DEVNAME] = "DEVNAME",
    [MAJOR] = "MAJOR",
    [MINOR] = "MINOR",
    [DISKSEQ] = "DISKSEQ",
    [SEQNUM] = "SEQNUM",
    [DM_COOKIE] = "DM_COOKIE",
    [SYNTH_UUID] = "SYNTH_UUID", /* somebody wrote to the file `uevent` in sysfs */
    [DISK_RO] = "DISK_RO",       /* the message of the resume follows it */
    [DISK_MEDIA_CHANGE] = "DISK_MEDIA_CHANGE",
    [DM_ACTION] = "DM_ACTION", /* a path of a multipath target */
};

/* The values, in the message; NULL: it has no such key. */
struct pairs {
    const char *values[KEYS];
};

static bool note(struct pairs *pairs, const char *text)
{
    const char *value = strchr(text, '=');

    for (int key = 0; value && key < KEYS; key++) {
        size_t length = strlen(key_names[key]);
        if ((size_t)(value - text) == length && memcmp(text, key_names[key], length) == 0) {
            if (pairs->values[key]) {
                return false;
            }
            pairs->values[key] = value + 1;
        }
    }
    return true;
}

/* Without a value it stays as it is. */
static bool read_number(const char *value, uint64_t most, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (!value) {
        return true;
    }
    if (!*value) {
        return false;
    }
    for (; *value; value++) {
        uint64_t digit = (uint64_t)(unsigned char)*value - '0';
        if (digit > 9 || number > (most - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

static bool is_equal(const char *value, const char *expected)
{
    return value && strcmp(value, expected) == 0;
}

static bool read_disk(const struct pairs *pairs, struct uevent *uevent)
{
    const char *name = pairs->values[DEVNAME];
    uint64_t major = 0;
    uint64_t minor = 0;
    uint64_t named = 0;
    uint64_t cookie = 0;

    if (!is_equal(pairs->values[SUBSYSTEM], "block") || !name || strncmp(name, "dm-", 3) != 0) {
        return true;
    }
    if (!pairs->values[MAJOR] || !read_number(pairs->values[MAJOR], UINT32_MAX, &major) ||
        !pairs->values[MINOR] || !read_number(pairs->values[MINOR], UINT32_MAX, &minor) ||
        !read_number(name + 3, UINT32_MAX, &named) || named != minor ||
        !read_number(pairs->values[DISKSEQ], UINT64_MAX, &uevent->diskseq) ||
        !read_number(pairs->values[DM_COOKIE], UINT32_MAX, &cookie)) {
        return false;
    }
    uevent->is_disk = true;
    uevent->device = (struct dmi_device){(uint32_t)major, (uint32_t)minor};
    uevent->cookie = (uint32_t)cookie;
    uevent->is_plain_change = is_equal(pairs->values[ACTION], "change");
    for (int key = FIRST_CAUSE; key < KEYS; key++) {
        uevent->is_plain_change = uevent->is_plain_change && !pairs->values[key];
    }
    return true;
}

bool uevent_parse(const char *message, size_t length, struct uevent *ret_uevent)
{
    struct uevent uevent = {0};
    struct pairs pairs = {0};

    if (length == 0 || message[length - 1] != '\0') {
        return false;
    }
    const char *at = strchr(message, '@');
    if (!at || at == message) {
        return false;
    }
    for (size_t i = strlen(message) + 1; i < length; i += strlen(message + i) + 1) {
        if (!note(&pairs, message + i)) {
            return false;
        }
    }
    const char *action = pairs.values[ACTION];
    size_t action_length = (size_t)(at - message);
    if (!action || strlen(action) != action_length || memcmp(action, message, action_length) != 0 ||
        !read_number(pairs.values[SEQNUM], UINT64_MAX, &uevent.seqnum) ||
        !read_disk(&pairs, &uevent)) {
        return false;
    }
    *ret_uevent = uevent;
    return true;
}

/* --- the socket --- */

void uevents_take(struct uevents *uevents, const char *message, size_t length)
{
    struct uevent uevent;

    if (!uevent_parse(message, length, &uevent)) {
        return; /* and so it leaves a gap */
    }
    if (uevent.seqnum > uevents->seqnum) {
        if (uevents->seqnum > 0 && uevent.seqnum > uevents->seqnum + 1) {
            uevents->user->lost(uevents->user, 0);
        }
        uevents->seqnum = uevent.seqnum;
    }
    if (uevent.is_disk) {
        uevents->user->told(uevents->user, &uevent);
    }
}

/* How many the kernel has dropped since the socket was made; false: it does not tell. */
static bool read_drops(int fd, uint32_t *ret_drops)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(memory);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) < 0 ||
        size <= SK_MEMINFO_DROPS * sizeof(memory[0])) {
        return false;
    }
    *ret_drops = memory[SK_MEMINFO_DROPS];
    return true;
}

/* The socket has been emptied: only now does the kernel drop no more. */
static void count_drops(struct uevents *uevents)
{
    uint32_t drops;
    uint32_t count = 1;

    if (read_drops(uevents->fd, &drops)) {
        count = drops - uevents->drops;
        uevents->drops = drops;
    }
    uevents->overrun = false;
    uevents->user->lost(uevents->user, count > 0 ? count : 1);
}

/* False: there is no more. */
static bool receive(struct uevents *uevents)
{
    char message[MESSAGE_BYTES];
    struct sockaddr_nl from = {0};
    struct iovec part = {message, sizeof(message)};
    struct msghdr head = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};

    ssize_t length = recvmsg(uevents->fd, &head, MSG_DONTWAIT);
    if (length < 0) {
        uevents->overrun = uevents->overrun || errno == ENOBUFS;
        return errno == ENOBUFS || errno == EINTR;
    }
    /* Who may, sends through the kernel what looks like its own; a sender's id shows it. */
    bool is_kernel = head.msg_namelen == sizeof(from) && from.nl_family == AF_NETLINK &&
                     from.nl_pid == 0 && from.nl_groups == KERNEL_GROUP;
    if (is_kernel && !(head.msg_flags & MSG_TRUNC)) {
        uevents_take(uevents, message, (size_t)length);
    }
    return true;
}

static void receive_all(struct uevents *uevents, int most)
{
    while (most-- > 0) {
        if (!receive(uevents)) {
            if (uevents->overrun) {
                count_drops(uevents);
            }
            return;
        }
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    receive_all(watcher->data, TURN_MESSAGES);
}

void uevents_drain(struct uevents *uevents)
{
    if (uevents->open) {
        receive_all(uevents, DRAIN_MESSAGES);
    }
}

void uevents_init(struct uevents *uevents, struct ev_loop *loop, struct uevents_user *user)
{
    *uevents = (struct uevents){.loop = loop, .user = user, .fd = -1};
}

/* Past the system's limit where we may. */
static void enlarge(int fd)
{
    const int bytes = RECEIVE_BYTES;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    }
}

/* Bound, or the kernel would take what it sends for our own; to no group yet. */
static int make_socket(int *ret_fd)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd < 0) {
        return -errno;
    }
    enlarge(fd);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int uevents_reserve(struct uevents *uevents)
{
    return uevents->fd >= 0 ? 0 : make_socket(&uevents->fd);
}

/* Membership of the group of the kernel's messages. */
static int set_member(int fd, int how)
{
    const int group = KERNEL_GROUP; /* its number: as a mask it is 1 as well */

    return setsockopt(fd, SOL_NETLINK, how, &group, sizeof(group)) < 0 ? -errno : 0;
}

int uevents_open(struct uevents *uevents)
{
    int rc = uevents->fd < 0 ? -ENOTCONN : set_member(uevents->fd, NETLINK_ADD_MEMBERSHIP);

    if (rc < 0) {
        return rc;
    }
    uevents->open = true;
    uevents->seqnum = 0;
    uevents->overrun = false;
    uevents->drops = 0;
    (void)read_drops(uevents->fd, &uevents->drops);
    ev_io_init(&uevents->readable, on_readable, uevents->fd, EV_READ);
    uevents->readable.data = uevents;
    ev_io_start(uevents->loop, &uevents->readable);
    return 0;
}

/* What is left in the socket would be old news when it is opened again. */
static void forget(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR) {
    }
}

void uevents_close(struct uevents *uevents)
{
    if (uevents->open) {
        ev_io_stop(uevents->loop, &uevents->readable);
        (void)set_member(uevents->fd, NETLINK_DROP_MEMBERSHIP);
        forget(uevents->fd);
        uevents->open = false;
    }
}

void uevents_done(struct uevents *uevents)
{
    uevents_close(uevents);
    if (uevents->fd >= 0) {
        (void)close(uevents->fd);
        uevents->fd = -1;
    }
}
