/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated kernel as a struct dmi_transport: an open file of the control
 * node. Its eventfd becomes readable with the first event after the file was
 * armed and stays so until it is armed again, as poll(2) on the real one.
 */
#include "../transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control.h"
#include "device.h"
#include "state.h"

struct sim_transport {
    struct dmi_transport transport;
    struct sim_file file;
};

static struct sim_file *file_of(struct dmi_transport *transport)
{
    return &((struct sim_transport *)(void *)transport)->file;
}

static int transport_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr,
                           struct dm_ioctl *buffer)
{
    return sim_control_ioctl(file_of(transport), (unsigned int)nr, buffer);
}

static int transport_poll_fd(struct dmi_transport *transport)
{
    return file_of(transport)->fd;
}

static int transport_dev_majors(struct dmi_transport *transport, uint32_t **ret_majors,
                                size_t *ret_count)
{
    uint32_t *majors = malloc(sizeof(*majors));
    (void)transport;
    if (!majors)
        return -ENOMEM;
    *majors = DMI_SIM_MAJOR;
    *ret_majors = majors;
    *ret_count = 1;
    return 0;
}

static int transport_diskseq(struct dmi_transport *transport, struct dmi_device device,
                             uint64_t *ret_diskseq)
{
    struct dmi_sim *sim = file_of(transport)->sim;
    uint64_t diskseq = 0;

    sim_lock(sim);
    const struct sim_device *found =
        device.major == DMI_SIM_MAJOR ? sim_minors_find(&sim->devices.minors, device.minor) : NULL;
    if (found)
        diskseq = found->diskseq;
    sim_unlock(sim);
    if (diskseq == 0)
        return -ENOENT;
    *ret_diskseq = diskseq;
    return 0;
}

static int transport_reopen(struct dmi_transport *transport, struct dmi_transport **ret_transport)
{
    return dmi_sim_open(file_of(transport)->sim, ret_transport);
}

static void transport_free(struct dmi_transport *transport)
{
    struct sim_file *file = file_of(transport);
    struct dmi_sim *sim = file->sim;

    sim_lock(sim);
    struct sim_file **link = &sim->files;
    while (*link != file)
        link = &(*link)->next;
    *link = file->next;
    sim_unlock(sim);

    (void)close(file->fd);
    free(transport);
}

int dmi_sim_open(struct dmi_sim *sim, struct dmi_transport **ret_transport)
{
    struct sim_transport *self = calloc(1, sizeof(*self));
    if (!self)
        return -ENOMEM;
    self->transport = (struct dmi_transport){
        .backend = "simulated",
        .ioctl = transport_ioctl,
        .poll_fd = transport_poll_fd,
        .dev_majors = transport_dev_majors,
        .diskseq = transport_diskseq,
        .reopen = transport_reopen,
        .free = transport_free,
    };
    self->file = (struct sim_file){.sim = sim, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (self->file.fd < 0) {
        int rc = -errno;
        free(self);
        return rc;
    }

    sim_lock(sim);
    sim_control_arm(&self->file);
    self->file.next = sim->files;
    sim->files = &self->file;
    sim_unlock(sim);

    *ret_transport = &self->transport;
    return 0;
}
