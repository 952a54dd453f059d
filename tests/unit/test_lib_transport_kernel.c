/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of transport_kernel.c, with the system calls replaced: there need not be
 * a device-mapper here, and if there is, it is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "script.h"

static struct {
    int open_errno; /* 0: opens as the next descriptor */
    int next_fd;
    int ioctl_rc, ioctl_errno;
    int ioctl_fd;
    unsigned long ioctl_request;
    const void *ioctl_buffer;
    int closed_fd;
    bool no_devices;
} fake;

int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_close(int fd);
FILE *__wrap_fopen(const char *path, const char *mode);

int __wrap_open(const char *path, int flags, ...)
{
    assert_string_equal(path, "/dev/mapper/control");
    assert_int_equal(flags, O_RDWR | O_CLOEXEC);
    if (fake.open_errno) {
        errno = fake.open_errno;
        return -1;
    }
    return fake.next_fd++;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;

    va_start(args, request);
    fake.ioctl_buffer = va_arg(args, const void *);
    va_end(args);
    fake.ioctl_fd = fd;
    fake.ioctl_request = request;
    errno = fake.ioctl_errno;
    return fake.ioctl_rc;
}

int __wrap_close(int fd)
{
    fake.closed_fd = fd;
    return 0;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    static char text[] = "Block devices:\n254 device-mapper\n";

    assert_string_equal(path, "/proc/devices");
    assert_string_equal(mode, "re");
    if (fake.no_devices) {
        errno = EMFILE;
        return NULL;
    }
    return fmemopen(text, strlen(text), "r");
}

static struct dmi_transport *open_fake(void)
{
    struct dmi_transport *transport = NULL;

    memset(&fake, 0, sizeof(fake));
    fake.next_fd = 1000;
    assert_int_equal(dmi_transport_kernel_new(&transport), 0);
    assert_string_equal(transport->backend, "kernel");
    return transport;
}

static void test_open(void **state)
{
    static const int errors[] = {ENOENT, ENODEV, ENXIO, EACCES, EPERM};
    struct dmi_transport *transport = open_fake();

    (void)state;
    assert_int_equal(transport->poll_fd(transport), 1000);
    assert_null(dmi_transport_free(transport));
    assert_int_equal(fake.closed_fd, 1000);
    transport = NULL;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fake.open_errno = errors[i];
        assert_int_equal(dmi_transport_kernel_new(&transport), -errors[i]);
        assert_null(transport);
    }
}

static void test_ioctl(void **state)
{
    struct dmi_transport *transport = open_fake();
    struct dm_ioctl buffer;

    (void)state;
    assert_int_equal(transport->ioctl(transport, DMI_DEV_STATUS, &buffer), 0);
    assert_int_equal(fake.ioctl_fd, 1000);
    assert_ptr_equal(fake.ioctl_buffer, &buffer);
    assert_int_equal(fake.ioctl_request, DM_DEV_STATUS);
    assert_int_equal(transport->ioctl(transport, DMI_GET_TARGET_VERSION, &buffer), 0);
    assert_int_equal(fake.ioctl_request, DM_GET_TARGET_VERSION);
    fake.ioctl_rc = 2;
    assert_int_equal(transport->ioctl(transport, DMI_TARGET_MSG, &buffer), 2);
    fake.ioctl_rc = -1;
    fake.ioctl_errno = EINTR;
    assert_int_equal(transport->ioctl(transport, DMI_DEV_SUSPEND, &buffer), -EINTR);
    (void)dmi_transport_free(transport);
}

static void test_reopen(void **state)
{
    struct dmi_transport *transport = open_fake(), *other = NULL;

    (void)state;
    assert_int_equal(dmi_transport_reopen(transport, &other), 0);
    assert_int_equal(other->poll_fd(other), 1001);
    (void)dmi_transport_free(other);
    assert_int_equal(fake.closed_fd, 1001);
    (void)dmi_transport_free(transport);
    assert_int_equal(fake.closed_fd, 1000);
}

static void test_majors(void **state)
{
    struct dmi_transport *transport = open_fake();
    struct dmi_majors majors;
    struct dmi dm;

    (void)state;
    dmi_init(&dm, transport);
    assert_int_equal(dmi_dev_majors(&dm, &majors), 0);
    assert_int_equal(majors.count, 1);
    assert_int_equal(majors.majors[0], 254);
    dmi_majors_done(&majors);
    fake.no_devices = true;
    assert_int_equal(dmi_dev_majors(&dm, &majors), -EMFILE);
    (void)dmi_transport_free(transport);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_ioctl),
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_majors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
