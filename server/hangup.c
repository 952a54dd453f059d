/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The epoll set of half-closed sockets. It knows descriptors, not connections.
 */
#include "hangup.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* One a turn: whoever is told may close others, and their events with them. */
static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct hangup *hangup = watcher->data;
    struct epoll_event event;

    (void)loop;
    (void)events;
    if (epoll_wait(hangup->fd, &event, 1, 0) == 1) {
        hangup->gone(event.data.ptr);
    }
}

int hangup_init(struct hangup *hangup, struct ev_loop *loop, enum hangup_kind kind,
                void (*gone)(void *who))
{
    hangup->fd = epoll_create1(EPOLL_CLOEXEC);
    if (hangup->fd < 0) {
        return -errno;
    }
    hangup->loop = loop;
    hangup->kind = kind;
    hangup->gone = gone;
    ev_io_init(&hangup->readable, on_readable, hangup->fd, EV_READ);
    hangup->readable.data = hangup;
    ev_io_start(loop, &hangup->readable);
    ev_unref(loop);
    return 0;
}

void hangup_done(struct hangup *hangup)
{
    ev_ref(hangup->loop);
    ev_io_stop(hangup->loop, &hangup->readable);
    (void)close(hangup->fd);
}

int hangup_add(struct hangup *hangup, int fd, void *who)
{
    struct epoll_event event = {.events = hangup->kind == HANGUP_HALF ? EPOLLRDHUP : 0,
                                .data.ptr = who};
    return epoll_ctl(hangup->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void hangup_remove(struct hangup *hangup, int fd)
{
    (void)epoll_ctl(hangup->fd, EPOLL_CTL_DEL, fd, NULL);
}
