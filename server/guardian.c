/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guardian. What it needs when the time comes it has from the start: memory, threads
 * and descriptors. One thread looks at the table; a pool of others rolls back, one device
 * each, since any of them may have to wait for another. It knows leases, and nothing of
 * the server.
 */
#include "guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "harden.h"
#include "transport.h"

enum { HANDS = 64, HAND_STACK_BYTES = 65536, DEATH_SIGNAL = SIGUSR1, START_MS = 30000 };

#define SECOND ((uint64_t)1000000000)
static const uint64_t GRACE = 2 * SECOND;          /* for the daemon */
static const uint64_t LAYER_PATIENCE = SECOND / 4; /* for those below */
static const uint64_t DEATH_PATIENCE = SECOND;     /* for a killed daemon's last threads */
static const uint64_t RETRY_FIRST = SECOND / 2;    /* after a failure, then twice that, */
static const uint64_t RETRY_LONGEST = 30 * SECOND; /* up to this */

/* What the guardian knows of a slot besides what is in it. */
struct watch {
    bool busy;      /* in a hand, or in line for one */
    uint64_t taken; /* when */
    uint64_t pause; /* before the next try */
};

struct guard {
    struct lease_table *table;
    struct dmi_transport *transport;
    int pipe, death, timer, done;
    uint64_t grace;
    bool orphan;    /* the daemon is dead */
    uint64_t dying; /* when it was killed, though threads of it may be in the kernel; or 0 */
    struct watch watches[LEASE_SLOTS];

    pthread_mutex_t lock; /* of all that follows, and of `busy` and `pause` above */
    pthread_cond_t work;
    unsigned int line[LEASE_SLOTS]; /* slots that wait for a hand */
    size_t first, count;
    bool closing;
    pthread_t hands[HANDS];
    size_t hand_count;
    pthread_cond_t begun;
    size_t begun_count; /* of the hands: those that run */
};

/* --- the hands --- */

static void roll_back(struct guard *guard, unsigned int i)
{
    struct lease *lease = &guard->table->slots[i];
    enum lease_outcome outcome = LEASE_ROLLED_BACK;
    struct dmi dm;

    dmi_init(&dm, guard->transport);
    int rc = lease_roll_back(lease, &dm, &outcome);
    if (rc == 0) {
        lease->outcome = outcome;
        lease->state = LEASE_ENDED;
    }
    pthread_mutex_lock(&guard->lock);
    guard->watches[i].busy = false;
    pthread_mutex_unlock(&guard->lock);
}

static void *hand_main(void *argument)
{
    struct guard *guard = argument;
    const uint64_t one = 1;

    pthread_mutex_lock(&guard->lock);
    guard->begun_count++;
    pthread_cond_signal(&guard->begun);
    for (;;) {
        while (guard->count == 0 && !guard->closing) {
            pthread_cond_wait(&guard->work, &guard->lock);
        }
        if (guard->closing) {
            break;
        }
        unsigned int i = guard->line[guard->first];
        guard->first = (guard->first + 1) % LEASE_SLOTS;
        guard->count--;
        pthread_mutex_unlock(&guard->lock);
        roll_back(guard, i);
        (void)!write(guard->done, &one, sizeof(one));
        pthread_mutex_lock(&guard->lock);
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

/*
 * With the lock held. When the next try is due is said before this one: the daemon, where it sees
 * that a try is worth it, sets that back, and this must not be lost.
 */
static void hand_out(struct guard *guard, unsigned int i)
{
    struct watch *watch = &guard->watches[i];

    watch->busy = true;
    guard->table->slots[i].retry = lease_clock() + watch->pause;
    watch->pause = watch->pause * 2 < RETRY_LONGEST ? watch->pause * 2 : RETRY_LONGEST;
    guard->line[(guard->first + guard->count) % LEASE_SLOTS] = i;
    guard->count++;
    pthread_cond_signal(&guard->work);
}

/* --- looking --- */

/* Takes a lease from the daemon if it is time; returns when that would be. */
static uint64_t take(struct guard *guard, unsigned int i, uint64_t now)
{
    struct lease *lease = &guard->table->slots[i];
    unsigned int state = lease->state;
    uint64_t when = guard->orphan ? now : lease_overdue(lease, guard->grace);

    if ((state != LEASE_HELD && state != LEASE_ENDING) || when > now) {
        return when;
    }
    if (lease_move(lease, state, LEASE_TAKEN)) {
        if (state == LEASE_HELD) {
            lease->reason = guard->orphan ? LEASE_ORPHANED : LEASE_TIME_UP;
        }
        guard->watches[i] = (struct watch){.taken = now, .pause = RETRY_FIRST};
        lease->retry = 0;
    }
    return now;
}

struct view {
    unsigned int live;
    uint32_t lowest; /* layer among those that are being rolled back or are to be */
    uint64_t next;   /* when to look again */
};

static struct view look(struct guard *guard, uint64_t now)
{
    struct view view = {.lowest = UINT32_MAX, .next = LEASE_NEVER};

    for (unsigned int i = 0; i < guard->table->head.used; i++) {
        struct lease *lease = &guard->table->slots[i];
        if (!lease_is_live(lease)) {
            continue;
        }
        uint64_t when = take(guard, i, now);
        view.live++;
        if (lease->state == LEASE_TAKEN) {
            view.lowest = lease->depth < view.lowest ? lease->depth : view.lowest;
        } else if (when < view.next) {
            view.next = when;
        }
    }
    return view;
}

/* Lower devices first: what is above them waits for them, but not for long. */
static void start(struct guard *guard, uint64_t now, struct view *view)
{
    for (unsigned int i = 0; i < guard->table->head.used; i++) {
        struct lease *lease = &guard->table->slots[i];
        struct watch *watch = &guard->watches[i];
        if (lease->state != LEASE_TAKEN || watch->busy) {
            continue;
        }
        uint64_t when = lease->depth == view->lowest ? now : watch->taken + LAYER_PATIENCE;
        uint64_t retry = lease->retry;
        when = retry > when ? retry : when;
        if (when <= now) {
            hand_out(guard, i);
        } else if (when < view->next) {
            view->next = when;
        }
    }
}

static struct view survey(struct guard *guard)
{
    uint64_t now = lease_clock();

    pthread_mutex_lock(&guard->lock);
    struct view view = look(guard, now);
    start(guard, now, &view);
    pthread_mutex_unlock(&guard->lock);
    return view;
}

/* --- sleeping --- */

/*
 * A killed daemon's threads finish the ioctls that they are in. A table that one of them
 * loads must not come between our look at the device and its resume, which would make it
 * live. So until the pipe has ended we wait, but not long: one of them may be stuck.
 */
static void note_death(struct guard *guard, bool pipe_ended, bool signalled)
{
    uint64_t now = lease_clock();

    if (signalled && guard->dying == 0) {
        guard->dying = now;
    }
    guard->orphan = pipe_ended || (guard->dying != 0 && now >= guard->dying + DEATH_PATIENCE);
}

/* By CLOCK_BOOTTIME: a machine that slept wakes up with its leases overdue. */
static void set_timer(const struct guard *guard, uint64_t when)
{
    struct itimerspec time = {0};

    if (when != LEASE_NEVER) {
        time.it_value.tv_sec = (time_t)(when / SECOND);
        time.it_value.tv_nsec = (long)(when % SECOND) + 1; /* all zeros would stop it */
        if (time.it_value.tv_nsec == (long)SECOND) {
            time.it_value.tv_nsec--;
        }
    }
    (void)timerfd_settime(guard->timer, TFD_TIMER_ABSTIME, &time, NULL);
}

static void drain(int fd)
{
    char bytes[512];

    while (read(fd, bytes, sizeof(bytes)) > 0) {
    }
}

static void sleep_until(struct guard *guard, uint64_t when)
{
    struct pollfd fds[] = {
        {.fd = guard->timer, .events = POLLIN},
        {.fd = guard->done, .events = POLLIN},
        {.fd = guard->pipe, .events = POLLIN},
        {.fd = guard->death, .events = POLLIN},
    };

    if (guard->dying != 0 && !guard->orphan && guard->dying + DEATH_PATIENCE < when) {
        when = guard->dying + DEATH_PATIENCE;
    }
    set_timer(guard, when);
    if (guard->dying != 0) {
        fds[3].fd = -1; /* it has said all */
    }
    if (guard->orphan) {
        fds[2].fd = fds[3].fd = -1;
    }
    if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) <= 0) {
        return;
    }
    drain(guard->timer);
    drain(guard->done);
    if (!guard->orphan) {
        drain(guard->pipe);
        note_death(guard, fds[2].revents & (POLLHUP | POLLERR), fds[3].revents & POLLIN);
    }
}

int guard_run(struct guard *guard)
{
    if (guard->hand_count == 0) {
        return -EAGAIN;
    }
    for (;;) {
        struct view view = survey(guard);
        if (guard->orphan && view.live == 0) {
            return 0;
        }
        sleep_until(guard, view.next);
    }
}

/* --- the beginning --- */

static void make_hands(struct guard *guard)
{
    pthread_attr_t attributes;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, HAND_STACK_BYTES);
    while (guard->hand_count < HANDS &&
           pthread_create(&guard->hands[guard->hand_count], &attributes, hand_main, guard) == 0) {
        guard->hand_count++;
    }
    (void)pthread_attr_destroy(&attributes);
    /* To begin, they make system calls that are refused later. */
    pthread_mutex_lock(&guard->lock);
    while (guard->begun_count < guard->hand_count) {
        pthread_cond_wait(&guard->begun, &guard->lock);
    }
    pthread_mutex_unlock(&guard->lock);
}

struct guard *guard_new(struct lease_table *table, struct dmi_transport *transport, int pipe,
                        int death, uint64_t grace)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    if (!guard) {
        return NULL;
    }
    guard->table = table;
    guard->transport = transport;
    guard->pipe = pipe;
    guard->death = death;
    guard->grace = grace;
    guard->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    guard->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&guard->lock, NULL);
    (void)pthread_cond_init(&guard->work, NULL);
    (void)pthread_cond_init(&guard->begun, NULL);
    if (guard->timer >= 0 && guard->done >= 0) {
        make_hands(guard);
    }
    return guard;
}

struct guard *guard_free(struct guard *guard)
{
    if (!guard) {
        return NULL;
    }
    pthread_mutex_lock(&guard->lock);
    guard->closing = true;
    pthread_cond_broadcast(&guard->work);
    pthread_mutex_unlock(&guard->lock);
    for (size_t i = 0; i < guard->hand_count; i++) {
        (void)pthread_join(guard->hands[i], NULL);
    }
    (void)pthread_cond_destroy(&guard->work);
    (void)pthread_cond_destroy(&guard->begun);
    (void)pthread_mutex_destroy(&guard->lock);
    (void)close(guard->timer);
    (void)close(guard->done);
    free(guard);
    return NULL;
}

/* --- the child --- */

/* Closes every descriptor but these. */
static void keep_only(int *fds, size_t count)
{
    unsigned int from = 3;

    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            if (fds[j] < fds[i]) {
                int swapped = fds[i];
                fds[i] = fds[j];
                fds[j] = swapped;
            }
        }
        if (fds[i] >= (int)from) {
            (void)close_range(from, (unsigned int)fds[i] - 1, 0);
            from = (unsigned int)fds[i] + 1;
        }
    }
    (void)close_range(from, ~0U, 0);
}

/* Neither terminal nor log: to write to either could block. */
static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    (void)!chdir("/");
    for (int fd = 0; null >= 0 && fd < 3; fd++) {
        (void)dup2(null, fd);
    }
}

static bool write_file(const char *path, const char *text, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, length) == (ssize_t)length;

    if (fd >= 0) {
        (void)close(fd);
    }
    return written;
}

enum missing {
    MISSING_NOTHING,
    MISSING_HARDENING,
    MISSING_MEMORY,
    MISSING_OOM,
    MISSING_FLUSHER,
    MISSING_THREADS
};

static const char *const missing_words[] = {
    [MISSING_NOTHING] = NULL,
    [MISSING_HARDENING] = "rights or system calls that it does not need could not be given up",
    [MISSING_MEMORY] = "its memory could not be locked",
    [MISSING_OOM] = "the kernel may kill it when memory is short",
    [MISSING_FLUSHER] = "it may wait for memory that a suspended device holds up",
    [MISSING_THREADS] = "its threads could not be made",
};

/* The most important last. It takes rights that are given up then. */
static enum missing protect(void)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    enum missing missing = MISSING_NOTHING;

    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0) {
        missing = MISSING_FLUSHER;
    }
    if (!write_file("/proc/self/oom_score_adj", "-1000", 5)) {
        missing = MISSING_OOM;
    }
    (void)setrlimit(RLIMIT_MEMLOCK, &all);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        missing = MISSING_MEMORY;
    }
    return missing;
}

/*
 * The signal comes when the thread that forked us ends; the pipe's end, when no thread of
 * the daemon is left. A killed daemon may have one that is stuck in the kernel.
 */
static int watch_parent(pid_t parent)
{
    sigset_t death;
    sigset_t all;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL); /* a SIGTERM for all is not for us */
    (void)sigemptyset(&death);
    (void)sigaddset(&death, DEATH_SIGNAL);
    int fd = signalfd(-1, &death, SFD_CLOEXEC | SFD_NONBLOCK);
    (void)prctl(PR_SET_PDEATHSIG, DEATH_SIGNAL);
    if (getppid() != parent) {
        (void)raise(DEATH_SIGNAL);
    }
    return fd;
}

struct child {
    struct lease_table *table;
    struct dmi_transport *transport;
    pid_t parent;
    int pipe, control, table_fd, ready;
};

__attribute__((noreturn)) static void child_main(const struct child *child)
{
    int death = watch_parent(child->parent);
    int fds[] = {child->pipe, child->control, child->table_fd, child->ready, death};
    struct harden harden = {0};

    (void)prctl(PR_SET_NAME, "dmrpc-guardian");
    leave_terminal();
    keep_only(fds, sizeof(fds) / sizeof(fds[0]));
    char missing = (char)protect();
    harden_begin(&harden, harden_needed(missing != MISSING_MEMORY));
    struct guard *guard = guard_new(child->table, child->transport, child->pipe, death, GRACE);
    harden_calls(&harden, HARDEN_CALLS_GUARDIAN);
    if (missing == MISSING_NOTHING && harden.lacks.count > 0) {
        missing = MISSING_HARDENING;
    }
    if (!guard || guard->hand_count == 0) {
        missing = MISSING_THREADS;
    }
    (void)!write(child->ready, &missing, 1);
    (void)close(child->ready);
    if (missing != MISSING_THREADS) {
        (void)guard_run(guard);
    }
    _exit(EXIT_SUCCESS);
}

/* --- the daemon's side --- */

/* What the child says of itself when it is ready; -errno. */
static int await(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char missing = MISSING_NOTHING;

    if (poll(&ready, 1, START_MS) == 0) {
        return -ETIMEDOUT;
    }
    if (read(fd, &missing, 1) != 1) {
        return -EPIPE;
    }
    return missing == MISSING_THREADS ? -EAGAIN : missing;
}

static void close_pair(int fds[2])
{
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int guardian_start(struct guardian *guardian, struct lease_table *table, int table_fd,
                   struct dmi_transport *transport, const char **ret_missing)
{
    int life[2];
    int ready[2];

    if (pipe2(life, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        int rc = -errno;
        close_pair(life);
        return rc;
    }
    const struct child child = {.table = table,
                                .transport = transport,
                                .parent = getpid(),
                                .pipe = life[0],
                                .control = transport->poll_fd(transport),
                                .table_fd = table_fd,
                                .ready = ready[1]};
    pid_t pid = fork();
    if (pid == 0) {
        child_main(&child);
    }
    int rc = pid < 0 ? -errno : 0;
    (void)close(life[0]);
    (void)close(ready[1]);
    if (rc == 0) {
        rc = await(ready[0]);
    }
    (void)close(ready[0]);
    if (rc < 0) {
        (void)close(life[1]);
        return rc;
    }
    *guardian = (struct guardian){.pid = pid, .pipe = life[1]};
    *ret_missing = missing_words[rc];
    return 0;
}

void guardian_wake(const struct guardian *guardian)
{
    if (guardian->pipe >= 0) {
        (void)!write(guardian->pipe, "", 1); /* full: it has been woken already */
    }
}

void guardian_stop(struct guardian *guardian)
{
    if (guardian->pipe >= 0) {
        (void)close(guardian->pipe);
        guardian->pipe = -1;
    }
}
