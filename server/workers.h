/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - threads for what may block, made on demand.
 *
 * A job runs on a worker and then ends on the loop thread. Workers that have
 * nothing to do for a while go away.
 */
#ifndef DMRPC_WORKERS_H
#define DMRPC_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

struct ev_loop;
struct workers;

/* Embedded in what it belongs to, which must stay until `end` was called. */
struct job {
    void (*run)(struct job *job); /* on a worker */
    void (*end)(struct job *job); /* on the loop thread, after run */
    struct job *next;
};

/* `most` threads at the most; jobs past that wait in line. 0 or -errno. */
int workers_new(struct ev_loop *loop, size_t most, struct workers **ret_workers);

/*
 * Takes NULL. Returns NULL. Waits until every thread has gone; jobs that were not
 * begun are dropped. Where one is stuck in the kernel this does not return: ask
 * workers_busy first.
 */
struct workers *workers_free(struct workers *workers);

/* From the loop thread. -EAGAIN: there is no thread and none could be made. */
int workers_submit(struct workers *workers, struct job *job);

/* Jobs that were submitted and have not ended. */
size_t workers_busy(const struct workers *workers);

/* The threads that there are now, and how many of them run a job. */
void workers_count(struct workers *workers, size_t *ret_threads, size_t *ret_running);

#endif
