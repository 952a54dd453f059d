/* SPDX-License-Identifier: Apache-2.0 */
/*
 * foreign.h - resumes of devices by other programs.
 *
 * A resume, a rename and a new uuid make the same uevent. It is ours if a call of ours,
 * or the end of a lease, is changing that device just then. What is left is held until
 * a list that was begun after it: a name or uuid that is new there explains one. Of
 * what no list explains the device is looked at, on a worker, and if it runs, that is
 * told. Loop thread only.
 */
#ifndef DMRPC_FOREIGN_H
#define DMRPC_FOREIGN_H

#include "dmioctl.h"

struct dispatcher;
struct foreign;
struct uevent;
struct watch_news;

/* What it finds out goes to the dispatcher's events. Opens nothing yet. 0 or -ENOMEM. */
int foreign_new(struct dispatcher *dispatcher, struct foreign **ret_foreign);

/* Takes NULL. Returns NULL. No worker may run. */
struct foreign *foreign_free(struct foreign *foreign);

/*
 * While somebody wants to hear of it. Where there are no uevents, as on a simulated kernel,
 * nothing is found out; the log says so, once, where the reason is another.
 */
void foreign_start(struct foreign *foreign);
void foreign_stop(struct foreign *foreign);

/* Hears what the kernel has said so far: before and after a change of ours. */
void foreign_drain(struct foreign *foreign);

/* The kernel has said this; the socket's, and for tests. */
void foreign_uevent(struct foreign *foreign, const struct uevent *uevent);

/* There is a new list. All that led to it has been drained. */
void foreign_listed(struct foreign *foreign, const struct watch_news *news);

/* It has been told that a call of ours suspended the device: what was seen before is over. */
void foreign_suspended(struct foreign *foreign, struct dmi_device device);

#endif
