/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uevents.h - what the kernel says of device-mapper's disks, as udev hears it.
 *
 * The kernel sends a uevent from inside of the ioctl that causes it: what a call does
 * is in the socket before the call returns. The socket hears of all devices of the
 * host, and keeps what is not of device-mapper to itself. Loop thread only.
 */
#ifndef DMRPC_UEVENTS_H
#define DMRPC_UEVENTS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

/* One message. */
struct uevent {
    uint64_t seqnum; /* counts all uevents of the host; 0: not told */
    bool is_disk;    /* of device-mapper, and the rest is filled: */
    struct dmi_device device;
    uint64_t diskseq; /* 0: not told */
    uint32_t cookie;  /* udev's, as in the ioctl; 0: none */
    /*
     * A resume, a rename, or a new uuid: a change of which the kernel gives no other
     * cause, such as a message that somebody asked for, or a disk that became read-only.
     * A new size is no other cause: it stands in the message of the resume.
     */
    bool is_plain_change;
};

/*
 * Takes a message of the kernel apart: "ACTION@DEVPATH", then "KEY=VALUE"s, each with its
 * NUL. False: it is none, or cut off, or says two things.
 */
bool uevent_parse(const char *message, size_t length, struct uevent *ret_uevent);

/* Embedded in who uses it. */
struct uevents_user {
    void (*told)(struct uevents_user *user, const struct uevent *uevent); /* of a dm disk */
    /* Messages, of whatever device, were dropped: `count` of them. 0: maybe there were none. */
    void (*lost)(struct uevents_user *user, uint64_t count);
};

struct uevents {
    struct ev_loop *loop;
    struct uevents_user *user;
    ev_io readable;
    int fd;    /* of the socket; -1: there is none yet */
    bool open; /* it hears the kernel */
    uint64_t seqnum;
    bool overrun;   /* the kernel has dropped some, which have not been counted yet */
    uint32_t drops; /* those that have */
};

/* Opens nothing yet. */
void uevents_init(struct uevents *uevents, struct ev_loop *loop, struct uevents_user *user);

/* Frees the socket. */
void uevents_done(struct uevents *uevents);

/*
 * Makes the socket, which hears nothing yet: with CAP_NET_ADMIN it may hold more than others,
 * and later that is gone. 0, or -errno: without netlink.
 */
int uevents_reserve(struct uevents *uevents);

/* From here on the user is told. 0, or -errno: nothing was reserved (-ENOTCONN). */
int uevents_open(struct uevents *uevents);

/* Nothing where it is closed. */
void uevents_close(struct uevents *uevents);

/* Tells all that the kernel has sent so far. Nothing where it is closed. */
void uevents_drain(struct uevents *uevents);

/* One message has come; for tests, too. */
void uevents_take(struct uevents *uevents, const char *message, size_t length);

#endif
