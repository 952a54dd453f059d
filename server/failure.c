/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that turns a library call's errno into an error of the schema,
 * in words for whoever reads it at night. It knows the kernel's habits (which
 * errno of which ioctl means what), and neither methods nor connections.
 */
#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "encode.h"
#include "text.h"

#define ANY DMI_NONE

struct cause {
    enum dmi_ioctl ioctl; /* or ANY */
    int errnum;           /* 0: any */
    enum error_id id;
    const char *why;
    const char *hint; /* or NULL */
};

/* Of a device that is known to be there these speak of something else. */
static const struct cause existing_causes[] = {
    {DMI_TABLE_LOAD, ENXIO, ERROR_TABLE_REJECTED, "the kernel refused the table",
     "a device that a line names may be missing; the kernel log names the target"},
    {DMI_TABLE_LOAD, EACCES, ERROR_TABLE_REJECTED,
     "a device that the table names may not be opened that way",
     "for a read-only device pass DM_READONLY"},
};

/* The first that fits counts. */
static const struct cause causes[] = {
    {ANY, EPROTONOSUPPORT, ERROR_KERNEL_TOO_OLD,
     "the kernel's device-mapper interface is too old for it", "version shows what it has"},
    {ANY, EMSGSIZE, ERROR_REPLY_TOO_LARGE, "the answer is larger than the limit on replies",
     "raise reply_bytes, or ask for less"},
    {ANY, EBADMSG, ERROR_INTERNAL_ERROR, "the kernel's reply does not hold together",
     "nothing of it is shown, because none of it can be trusted; please report it"},
    {ANY, EACCES, ERROR_PERMISSION_DENIED, "dmrpcd lacks CAP_SYS_ADMIN in the initial namespace",
     "run it as root outside of containers"},
    {DMI_DEV_CREATE, EBUSY, ERROR_DEVICE_EXISTS, "the name or the uuid is taken",
     "list_devices shows who has it"},
    {DMI_DEV_CREATE, ENXIO, ERROR_KERNEL_ERROR, "the kernel could not make the device",
     "the kernel log tells more; often it is short of memory or minors"},
    {ANY, ENXIO, ERROR_DEVICE_NOT_FOUND, "there is no such device",
     "list_devices shows those there are"},
    {DMI_DEV_RENAME, EBUSY, ERROR_DEVICE_EXISTS, "the new name or uuid is taken",
     "list_devices shows who has it"},
    {DMI_DEV_RENAME, EINVAL, ERROR_KERNEL_ERROR, "the kernel refused the new name or uuid",
     "a uuid can be set once only, and must not be empty"},
    {DMI_DEV_REMOVE, EBUSY, ERROR_DEVICE_BUSY, "the device is open or another device uses it",
     "unmount or close it, remove what is stacked on it, or pass DM_DEFERRED_REMOVE"},
    {DMI_TABLE_LOAD, ENOMEM, ERROR_KERNEL_ERROR, "the kernel had no memory for the table",
     "free memory, or load fewer or smaller targets (each stripe, cache block or region costs "
     "some)"},
    {DMI_TABLE_LOAD, EBUSY, ERROR_TABLE_REJECTED,
     "a device that the table names is held by somebody else",
     "look for a mount (in another mount namespace too), a swap area or another mapping on the "
     "devices of the table, and for a process that has one open (fuser -v)"},
    {DMI_TABLE_LOAD, EINVAL, ERROR_TABLE_REJECTED, "the kernel refused the table",
     "the kernel log names the target and the reason; lines must follow one another without a "
     "gap from sector 0, and the target type must be known"},
    {DMI_TABLE_LOAD, EROFS, ERROR_TABLE_REJECTED, "a device that the table names is read-only",
     "pass DM_READONLY"},
    {DMI_TABLE_LOAD, 0, ERROR_TABLE_REJECTED, "the kernel refused the table",
     "the kernel log names the target and the reason; a device that a line names may be missing "
     "or too small"},
    {DMI_DEV_SUSPEND, EINVAL, ERROR_TABLE_REJECTED,
     "the kernel refused to suspend or to activate the table",
     "read device_status before anything else: a resume that fails can leave the device suspended"},
    {DMI_DEV_SUSPEND, EINTR, ERROR_KERNEL_ERROR, "the suspend was interrupted and undone", NULL},
    {DMI_DEV_SUSPEND, 0, ERROR_KERNEL_ERROR, "the suspend or resume failed",
     "read device_status before anything else: a resume that fails can leave the device suspended"},
    {DMI_TARGET_MSG, EINVAL, ERROR_KERNEL_ERROR, "the target refused the message",
     "it must be one that the target type knows; most want a live table, some a suspended one"},
    {DMI_TARGET_MSG, 0, ERROR_KERNEL_ERROR, "the target could not carry out the message",
     "read the state before you send it again: it may have had an effect"},
    {DMI_GET_TARGET_VERSION, EINVAL, ERROR_KERNEL_ERROR, "there is no such target type",
     "its module may be missing: modprobe dm-TYPE"},
    {DMI_DEV_SET_GEOMETRY, EINVAL, ERROR_KERNEL_ERROR, "the kernel refused the geometry",
     "the start must lie inside of it: start < cylinders * heads * sectors"},
    {ANY, EPERM, ERROR_PERMISSION_DENIED, "dmrpcd lacks CAP_SYS_ADMIN in the initial namespace",
     "run it as root outside of containers"},
    {ANY, ENOENT, ERROR_KERNEL_UNAVAILABLE, "there is no /dev/mapper/control",
     "load the kernel's module (modprobe dm_mod); in a container, pass the device node in"},
    {ANY, ENOMEM, ERROR_KERNEL_ERROR, "the kernel had no memory for it",
     "free memory, then try again"},
    {ANY, ENODEV, ERROR_KERNEL_UNAVAILABLE, "the kernel has no device-mapper",
     "load its module: modprobe dm_mod"},
};

static const char *errno_name(int errnum)
{
    const char *name = strerrorname_np(errnum);
    return name ? name : "unknown errno";
}

static const char *errno_words(int errnum)
{
    const char *words = strerrordesc_np(errnum);
    return words ? words : "no words for it";
}

void failure_copy(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

void failure_set(struct failure *failure, enum error_id id, const char *format, ...)
{
    va_list args;

    *failure = (struct failure){.id = id};
    failure->data.error = error_table[id].name;
    va_start(args, format);
    (void)vsnprintf(failure->message, sizeof(failure->message), format, args);
    va_end(args);
}

static const struct cause *cause_find(const struct cause *table, size_t count, enum dmi_ioctl ioctl,
                                      int errnum)
{
    for (size_t i = 0; i < count; i++) {
        const struct cause *cause = &table[i];
        bool wanted = cause->ioctl == ANY || cause->ioctl == ioctl;
        if (wanted && (cause->errnum == 0 || cause->errnum == errnum)) {
            return cause;
        }
    }
    return NULL;
}

static const struct cause *cause_of(enum dmi_ioctl ioctl, int errnum, bool exists)
{
    const struct cause *cause = NULL;

    if (exists) {
        cause = cause_find(existing_causes, sizeof(existing_causes) / sizeof(existing_causes[0]),
                           ioctl, errnum);
    }
    return cause ? cause : cause_find(causes, sizeof(causes) / sizeof(causes[0]), ioctl, errnum);
}

void failure_set_kernel(struct failure *failure, int rc, const struct dmi *dm, const char *what,
                        bool exists)
{
    const char *ioctl = dmi_ioctl_name(dm->last);
    const char *device = what && *what ? what : NULL;

    if (rc == -ENOMEM && !ioctl) {
        failure_set(failure, ERROR_OVERLOADED, "There is no memory for the call now.");
        return;
    }
    const struct cause *cause = cause_of(dm->last, -rc, exists);
    const char *why = cause ? cause->why : "the kernel refused it";
    failure_set(failure, cause ? cause->id : ERROR_KERNEL_ERROR, "%s%s%s failed: %s (%s: %s).",
                ioctl ? ioctl : "The call", device ? " on " : "", device ? device : "", why,
                errno_name(-rc), errno_words(-rc));
    failure->data.errnum = (uint32_t)-rc;
    failure->data.has_errnum = true;
    failure->data.errno_name = errno_name(-rc);
    failure->data.ioctl = ioctl;
    failure->data.hint = cause ? cause->hint : NULL;
    if (rc == -EPROTONOSUPPORT && dm->needed_minor > dm->kernel_version[1]) {
        (void)snprintf(failure->hint, sizeof(failure->hint),
                       "the kernel's interface is %u.%u and the call needs 4.%u: a newer kernel is "
                       "needed",
                       dm->kernel_version[0], dm->kernel_version[1], dm->needed_minor);
        failure->data.hint = failure->hint;
    }
    if (rc == -EMSGSIZE) {
        failure->data.limit = dm->max_reply;
        failure->data.has_limit = true;
    }
}

void failure_put(const struct failure *failure, struct out *out)
{
    out_puts(out, "{\"code\":");
    out_i64(out, error_table[failure->id].code);
    out_puts(out, ",\"message\":");
    text_put(out, failure->message);
    out_puts(out, ",\"data\":");
    encode_object(&type_error_data, &failure->data, out);
    out_char(out, '}');
}
