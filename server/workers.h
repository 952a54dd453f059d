/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - threads for what may block or be long, made on demand.
 *
 * A job runs on a worker and then ends on the loop thread. What a job may wait for says
 * in which pool it runs: there it stands behind its like only. Workers that have nothing
 * to do for a while go away.
 */
#ifndef DMRPC_WORKERS_H
#define DMRPC_WORKERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct ev_loop;
struct workers;

enum workers_pool {
    POOL_CALLS,    /* may wait for good, for I/O, or for a job of the next pool */
    POOL_RELEASES, /* may end what others wait for */
    POOL_TOLD,     /* answers who waited for an event: may have to wait for a device */
    POOL_SHORT,    /* waits for nothing: parses, lists, looks, prints */
    POOLS,
};

/* Embedded in what it belongs to, which must stay until `end` was called. */
struct job {
    void (*run)(struct job *job); /* on a worker */
    void (*end)(struct job *job); /* on the loop thread, after run */
    enum workers_pool pool;
    struct job *next;
    enum job_state { JOB_IDLE, JOB_WAITS, JOB_RUNS } state; /* workers.c's */
    pthread_t thread;                                       /* that runs it */
};

/*
 * `most` threads of a pool at the most, and fewer for what is short; jobs past that wait in
 * line. 0 or -errno.
 */
int workers_new(struct ev_loop *loop, size_t most, struct workers **ret_workers);

/*
 * From now on one thread is always there for POOL_RELEASES: what it needs to be made of may
 * be short when it is needed most. 0 or -errno.
 */
int workers_reserve(struct workers *workers);

/*
 * Takes NULL. Returns NULL. Waits until every thread has gone; jobs that were not
 * begun are dropped. Where one is stuck in the kernel this does not return: ask
 * workers_busy first.
 */
struct workers *workers_free(struct workers *workers);

/* From the loop thread. -EAGAIN: there is no thread and none could be made. */
int workers_submit(struct workers *workers, struct job *job);

/* Takes a job back that no thread has begun: true, and it will neither run nor end. */
bool workers_withdraw(struct workers *workers, struct job *job);

/* Has a job that was not submitted, or was withdrawn, end as if it had run: not in here. */
void workers_end(struct workers *workers, struct job *job);

/*
 * Sends the thread that runs the job a signal that does nothing but end what can be
 * ended: a system call that waits returns EINTR. Whoever wants that repeats it until the
 * job has ended, since the thread may be between two calls. Nothing where it does not run.
 */
void workers_interrupt(struct workers *workers, struct job *job);

/* Jobs that were submitted and have not ended. */
size_t workers_busy(const struct workers *workers);

/* The threads that there are now in POOL_CALLS, and how many of them run a job. */
void workers_count(struct workers *workers, size_t *ret_threads, size_t *ret_running);

#endif
