/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmioctl.h - Linux device-mapper's ioctl interface as typed C calls.
 *
 * The one public header of libdmioctl.a. A call builds a struct dm_ioctl,
 * hands it to a transport (transport.h) and validates the whole of what comes
 * back before it returns any of it. The library never logs, sleeps, exits or
 * repeats a call that could change something; it keeps no global state.
 *
 * Conventions, unless a function says otherwise:
 *   - Returns 0 or a negative errno. The kernel's errno is passed on as it is;
 *     `enum dmi_ioctl` in dm->last tells which ioctl it came from. These are
 *     the library's own:
 *       -EINVAL           an argument that the kernel would misread, or a flag
 *                         that the call does not list (with dm->last ==
 *                         DMI_NONE: nothing was sent)
 *       -ENAMETOOLONG     a name, uuid or target type that the kernel would cut
 *       -E2BIG            a request larger than the 1 GiB of the interface
 *       -EPROTONOSUPPORT  the kernel's interface is older than the call needs
 *       -EMSGSIZE         the answer is larger than dm->max_reply
 *       -EBADMSG          the kernel's reply does not hold together
 *       -ENOMEM           no memory for a buffer
 *   - `ret_` arguments come last, may not be NULL unless said so, and are
 *     untouched on failure.
 *   - Strings are NUL-terminated bytes. The kernel does not promise UTF-8.
 *   - Sectors are 512 bytes.
 */
#ifndef DMIOCTL_H
#define DMIOCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dmi_transport;

enum {
    DMI_NAME_MAX = 127, /* bytes of a device's name, without its NUL */
    DMI_UUID_MAX = 128, /* bytes of a device's uuid, without its NUL */
    DMI_TYPE_MAX = 15,  /* bytes of a target type, without its NUL */
};

/* The ioctls of include/uapi/linux/dm-ioctl.h, by their command numbers. */
enum dmi_ioctl {
    DMI_NONE = -1,
    DMI_VERSION = 0,
    DMI_REMOVE_ALL,
    DMI_LIST_DEVICES,
    DMI_DEV_CREATE,
    DMI_DEV_REMOVE,
    DMI_DEV_RENAME,
    DMI_DEV_SUSPEND,
    DMI_DEV_STATUS,
    DMI_DEV_WAIT, /* never sent: beside a remove it hangs the remover for good */
    DMI_TABLE_LOAD,
    DMI_TABLE_CLEAR,
    DMI_TABLE_DEPS,
    DMI_TABLE_STATUS,
    DMI_LIST_VERSIONS,
    DMI_TARGET_MSG,
    DMI_DEV_SET_GEOMETRY,
    DMI_DEV_ARM_POLL,
    DMI_GET_TARGET_VERSION,
    DMI_IOCTL_COUNT,
};

/* "DM_DEV_CREATE" for DMI_DEV_CREATE; NULL for DMI_NONE and what is out of range. */
const char *dmi_ioctl_name(enum dmi_ioctl nr);

/* Flags, with the bits of struct dm_ioctl.flags. */
enum dmi_flag {
    DMI_READONLY = 1 << 0,
    DMI_SUSPEND = 1 << 1,
    DMI_PERSISTENT_DEV = 1 << 3,
    DMI_STATUS_TABLE = 1 << 4,
    DMI_ACTIVE_PRESENT = 1 << 5,
    DMI_INACTIVE_PRESENT = 1 << 6,
    DMI_BUFFER_FULL = 1 << 8,
    DMI_SKIP_BDGET = 1 << 9,
    DMI_SKIP_LOCKFS = 1 << 10,
    DMI_NOFLUSH = 1 << 11,
    DMI_QUERY_INACTIVE_TABLE = 1 << 12,
    DMI_UEVENT_GENERATED = 1 << 13,
    DMI_UUID = 1 << 14,
    DMI_SECURE_DATA = 1 << 15,
    DMI_DATA_OUT = 1 << 16,
    DMI_DEFERRED_REMOVE = 1 << 17,
    DMI_INTERNAL_SUSPEND = 1 << 18,
    DMI_IMA_MEASUREMENT = 1 << 19,
    DMI_KNOWN_FLAGS = (1 << 20) - 1 - (1 << 2) - (1 << 7),
};

/*
 * A handle: the transport that is used and what the last call did. Cheap to
 * make; one for each thread that calls. The transport may be shared.
 */
struct dmi {
    struct dmi_transport *transport; /* borrowed */
    size_t max_reply;                /* bytes; replies grow up to this, at most 1 GiB */
    enum dmi_ioctl last;             /* the ioctl sent last by the latest call, or DMI_NONE */
    uint32_t kernel_version[3];      /* as the kernel wrote it last; zeros before */
    uint32_t needed_minor;           /* of the interface, by the latest ioctl */
};

/* `transport` is borrowed for as long as `dm` is used. max_reply is set to 1 GiB. */
void dmi_init(struct dmi *dm, struct dmi_transport *transport);

struct dmi_version {
    uint32_t major, minor, patch;
};

/* A block device's number. Minors reach 2^20 - 1 (the kernel's huge_encode_dev). */
struct dmi_device {
    uint32_t major, minor;
};

static inline bool dmi_device_equal(struct dmi_device a, struct dmi_device b)
{
    return a.major == b.major && a.minor == b.minor;
}

/* How a call names its device: exactly one way, as the kernel wants it. */
struct dmi_id {
    enum dmi_id_kind { DMI_BY_NAME, DMI_BY_UUID, DMI_BY_DEVICE } kind;
    union {
        const char *name; /* borrowed */
        const char *uuid; /* borrowed */
        struct dmi_device device;
    };
};

/*
 * What the kernel says of a device in the head of a reply. `flags` holds states
 * only: bits that the kernel merely echoes from the request are masked out.
 * Bits past DMI_KNOWN_FLAGS are kept (a newer kernel's) if they were not sent.
 */
struct dmi_info {
    struct dmi_version version; /* of the kernel's interface */
    char name[DMI_NAME_MAX + 1];
    char uuid[DMI_UUID_MAX + 1]; /* "" where the device has none */
    struct dmi_device device;    /* 0:0 in the answer to a remove */
    int32_t open_count;
    uint32_t target_count; /* of the live table, or the inactive one if that was asked for */
    uint32_t event_nr;
    uint32_t flags; /* enum dmi_flag */
};

/* One line of a table: input of a load, output of a status. */
struct dmi_target {
    uint64_t start, length; /* sectors */
    const char *type;
    const char *params; /* constructor arguments, table line or status line */
};

/*
 * Replies that are lists own one buffer, which their strings point into. Free
 * each with its _done function, which takes a zeroed struct too and wipes the
 * buffer first (table lines and messages may hold keys).
 */
struct dmi_buffer {
    void *data;
    size_t size; /* bytes of it that were ever written, which are those wiped */
};

struct dmi_device_entry {
    struct dmi_device device;
    const char *name;
    const char *uuid;  /* "" = has none; NULL = the kernel (before 4.45) does not tell */
    uint32_t event_nr; /* 0 where the kernel (before 4.37) does not tell */
};

struct dmi_device_list {
    struct dmi_device_entry *entries;
    size_t count;
    struct dmi_buffer buffer;
};

struct dmi_target_version {
    const char *name;
    struct dmi_version version;
};

struct dmi_target_versions {
    struct dmi_target_version *entries;
    size_t count;
    struct dmi_buffer buffer;
};

struct dmi_table {
    struct dmi_info info;
    struct dmi_target *targets;
    size_t count;
    struct dmi_buffer buffer;
};

struct dmi_deps {
    struct dmi_info info;
    struct dmi_device *devices;
    size_t count;
};

struct dmi_message {
    struct dmi_info info;
    const char *output; /* NULL where the message had none */
    struct dmi_buffer buffer;
};

struct dmi_majors {
    uint32_t *majors;
    size_t count;
};

void dmi_device_list_done(struct dmi_device_list *list);
void dmi_target_versions_done(struct dmi_target_versions *versions);
void dmi_table_done(struct dmi_table *table);
void dmi_deps_done(struct dmi_deps *deps);
void dmi_message_done(struct dmi_message *message);
void dmi_majors_done(struct dmi_majors *majors);

/* --- the interface itself --- */

/* DM_VERSION. Works on every kernel that has device-mapper. */
int dmi_version(struct dmi *dm, struct dmi_version *ret_version);

/* DM_LIST_VERSIONS: the target types that are registered now. */
int dmi_list_versions(struct dmi *dm, struct dmi_target_versions *ret_versions);

/* DM_GET_TARGET_VERSION (4.41): one target type; may load its module. -EINVAL: no such type. */
int dmi_target_version(struct dmi *dm, const char *type, struct dmi_version *ret_version);

/* The block majors that device-mapper holds, from /proc/devices; usually one. */
int dmi_dev_majors(struct dmi *dm, struct dmi_majors *ret_majors);

/*
 * DM_LIST_DEVICES, in the kernel's order. `name_prefix` and `uuid_prefix` (NULL
 * or "" for none) limit it; older kernels ignore them, so the library checks
 * again. -EPROTONOSUPPORT: there is a device and a `uuid_prefix` to hold against
 * its uuid, which the kernel does not tell.
 */
int dmi_list_devices(struct dmi *dm, const char *name_prefix, const char *uuid_prefix,
                     struct dmi_device_list *ret_list);

/* Puts a list in the order of device numbers, for dmi_device_list_find. */
void dmi_device_list_sort(struct dmi_device_list *list);

/* The entry of `device` in a sorted list, or NULL. */
const struct dmi_device_entry *dmi_device_list_find(const struct dmi_device_list *list,
                                                    struct dmi_device device);

/*
 * DM_REMOVE_ALL: removes every device that is not open. Flags: DMI_DEFERRED_REMOVE.
 */
int dmi_remove_all(struct dmi *dm, uint32_t flags);

/*
 * DM_DEV_ARM_POLL (4.37): from now on an event anywhere makes the descriptor of
 * dmi_poll_fd readable, until armed again. The state belongs to the transport's
 * open file: who waits for events opens one of its own (dmi_transport_reopen).
 */
int dmi_arm_poll(struct dmi *dm);

/* The descriptor to poll(2) for POLLIN; the transport's, never to be closed or read. */
int dmi_poll_fd(struct dmi *dm);

/* --- devices --- */

/*
 * The sequence number of the device's disk. No two disks have had the same since the
 * machine started: it tells a device from one that was made anew under its name and
 * number. -ENOENT: there is no disk (it comes with the first table load), or the kernel
 * (before 5.15) does not tell. No ioctl: it never blocks for long.
 */
int dmi_device_diskseq(struct dmi *dm, struct dmi_device device, uint64_t *ret_diskseq);

/*
 * DM_DEV_CREATE: a device without a table. `uuid` may be NULL. Flags:
 * DMI_PERSISTENT_DEV takes `minor`, which is ignored without; DMI_READONLY, which
 * the kernel ignores: it belongs to the table. -EBUSY: name or uuid is taken;
 * -ENXIO: the minor is, or the kernel failed for any other reason. -EINVAL, unsent, for
 * the names "control", "." and ".." and any with a '/'; in a rename too.
 */
int dmi_device_create(struct dmi *dm, const char *name, const char *uuid, uint32_t flags,
                      uint32_t minor, struct dmi_info *ret_info);

/*
 * The udev flags that ride with a cookie of base 0 (nobody waits for it): the
 * event comes from whoever manages the device, so udev's rules act on it in full.
 * See libdm's DM_UDEV_PRIMARY_SOURCE_FLAG.
 */
enum { DMI_UDEV_PRIMARY_SOURCE = 0x0040 << 16 };

/*
 * DM_DEV_REMOVE. Flags: DMI_DEFERRED_REMOVE (4.27) lets an open device go at its
 * last close; ret_info->flags then has that bit. Of a removed device ret_info has
 * version, name, uuid and DMI_UEVENT_GENERATED; the rest is zeros. -EBUSY: open.
 * `cookie`: see DMI_UDEV_PRIMARY_SOURCE.
 */
int dmi_device_remove(struct dmi *dm, const struct dmi_id *id, uint32_t flags, uint32_t cookie,
                      struct dmi_info *ret_info);

/*
 * DM_DEV_RENAME. The reply still bears the old name, and neither the uuid nor
 * DMI_INACTIVE_PRESENT, whatever the device has. -EBUSY: the new name is taken.
 */
int dmi_device_rename(struct dmi *dm, const char *name, const char *new_name, uint32_t cookie,
                      struct dmi_info *ret_info);

/*
 * DM_DEV_RENAME with DM_UUID (4.19): once only, -EINVAL for a device that has one.
 * The reply lacks the same as a rename's.
 */
int dmi_device_set_uuid(struct dmi *dm, const char *name, const char *uuid, uint32_t cookie,
                        struct dmi_info *ret_info);

/*
 * DM_DEV_SUSPEND with DM_SUSPEND. Flags: DMI_NOFLUSH, DMI_SKIP_LOCKFS (overridden
 * by NOFLUSH). Not counted: a second one changes nothing. Blocks while I/O drains
 * and the file system freezes. A device with no live table can be suspended and
 * then not resumed until a table is there: callers refuse that.
 */
int dmi_device_suspend(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                       struct dmi_info *ret_info);

/*
 * DM_DEV_SUSPEND without DM_SUSPEND: swaps an inactive table in, then resumes.
 * Flags: DMI_NOFLUSH, DMI_SKIP_LOCKFS, for the suspend that a swap implies. May
 * fail and leave the device suspended, with either table live: ask its status.
 */
int dmi_device_resume(struct dmi *dm, const struct dmi_id *id, uint32_t flags, uint32_t cookie,
                      struct dmi_info *ret_info);

/* DM_DEV_STATUS. Flags: DMI_QUERY_INACTIVE_TABLE (target_count and DMI_READONLY are its). */
int dmi_device_status(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                      struct dmi_info *ret_info);

struct dmi_geometry {
    uint64_t cylinders, heads, sectors, start; /* start in sectors */
};

/*
 * DM_DEV_SET_GEOMETRY (4.6), with a live table or without. The kernel answers nothing
 * but its version: for the rest ret_info has what `id` said, and zeros.
 */
int dmi_device_set_geometry(struct dmi *dm, const struct dmi_id *id,
                            const struct dmi_geometry *geometry, struct dmi_info *ret_info);

/* --- tables --- */

/*
 * DM_TABLE_LOAD into the inactive slot, replacing what is there. Flags:
 * DMI_READONLY, DMI_SECURE_DATA (the request buffer is wiped by kernel and
 * library alike). No limit on `count` but the 1 GiB of the interface (-E2BIG).
 */
int dmi_table_load(struct dmi *dm, const struct dmi_id *id, const struct dmi_target *targets,
                   size_t count, uint32_t flags, struct dmi_info *ret_info);

/* DM_TABLE_CLEAR: drops the inactive table; without one it changes nothing. */
int dmi_table_clear(struct dmi *dm, const struct dmi_id *id, struct dmi_info *ret_info);

/* DM_TABLE_DEPS: the devices that a table uses. Flags: DMI_QUERY_INACTIVE_TABLE. */
int dmi_table_deps(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                   struct dmi_deps *ret_deps);

/*
 * DM_TABLE_STATUS: a status line for each target, or its table line with
 * DMI_STATUS_TABLE (crypt's shows its key). Flags also: DMI_NOFLUSH (without it
 * thin and cache commit their metadata first), DMI_QUERY_INACTIVE_TABLE,
 * DMI_SECURE_DATA (the kernel wipes its copy of the lines). The entries are empty,
 * whatever info.target_count says, where the table went while the kernel answered.
 */
int dmi_table_status(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                     struct dmi_table *ret_table);

/*
 * DM_TARGET_MSG to the target that holds `sector`. It is sent once, whatever
 * happens: `max_output` bytes (0: 1 MiB) are set aside for the answer, and where
 * that was too little the call returns -EMSGSIZE although the message was
 * carried out. Flags: DMI_SECURE_DATA.
 */
int dmi_target_msg(struct dmi *dm, const struct dmi_id *id, uint64_t sector, const char *message,
                   uint32_t flags, size_t max_output, struct dmi_message *ret_message);

#endif
