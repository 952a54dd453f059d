/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a thin pool: making and deleting volumes, the transaction id, the
 * metadata snapshot. They change the pool's metadata and nothing else.
 */
#include <errno.h>
#include <strings.h>

#include "device.h"
#include "state.h"
#include "target_thin_pool.h"

static int count_words(struct dmi_sim *sim, unsigned int argc, unsigned int wanted)
{
    if (argc == wanted)
        return 0;
    sim_log(sim, "thin", "Message received with %u arguments instead of %u.", argc, wanted);
    return -EINVAL;
}

static int read_id(struct dmi_sim *sim, const char *word, uint64_t *ret_id)
{
    if (sim_parse_u64(word, ret_id) && *ret_id <= THIN_ID_MAX)
        return 0;
    sim_log(sim, "thin", "Message received with invalid device id: %s", word);
    return -EINVAL;
}

static int message_create_thin(struct dmi_sim *sim, struct thin_metadata *metadata, char **argv)
{
    uint64_t id;
    int rc = read_id(sim, argv[1], &id);
    if (rc < 0)
        return rc;
    rc = sim_thin_metadata_create(metadata, id);
    if (rc < 0)
        sim_log(sim, "thin", "Creation of new thinly-provisioned device with id %s failed.",
                argv[1]);
    return rc;
}

static int message_create_snap(struct dmi_sim *sim, struct thin_metadata *metadata, char **argv)
{
    uint64_t id, origin;
    int rc = read_id(sim, argv[1], &id);
    if (rc == 0)
        rc = read_id(sim, argv[2], &origin);
    if (rc < 0)
        return rc;
    rc = sim_thin_metadata_snapshot(metadata, id, origin);
    if (rc < 0)
        sim_log(sim, "thin", "Creation of new snapshot %s of device %s failed.", argv[1], argv[2]);
    return rc;
}

static int message_delete(struct dmi_sim *sim, struct thin_metadata *metadata, char **argv)
{
    uint64_t id;
    int rc = read_id(sim, argv[1], &id);
    if (rc < 0)
        return rc;
    rc = sim_thin_metadata_delete(metadata, id);
    if (rc < 0)
        sim_log(sim, "thin", "Deletion of thin device %s failed.", argv[1]);
    return rc;
}

static int message_set_transaction_id(struct dmi_sim *sim, struct thin_metadata *metadata,
                                      char **argv)
{
    uint64_t old, new;

    if (!sim_parse_u64(argv[1], &old)) {
        sim_log(sim, "thin", "set_transaction_id message: Unrecognised id %s.", argv[1]);
        return -EINVAL;
    }
    if (!sim_parse_u64(argv[2], &new)) {
        sim_log(sim, "thin", "set_transaction_id message: Unrecognised new id %s.", argv[2]);
        return -EINVAL;
    }
    if (metadata->transaction_id != old) {
        sim_log(sim, "thin metadata", "mismatched transaction id");
        sim_log(sim, "thin", "Failed to change transaction id from %s to %s.", argv[1], argv[2]);
        return -EINVAL;
    }
    metadata->transaction_id = new;
    return 0;
}

static int message_reserve(struct dmi_sim *sim, struct thin_metadata *metadata, char **argv)
{
    (void)argv;
    int rc = sim_thin_metadata_hold(sim, metadata);
    if (rc < 0)
        sim_log(sim, "thin", "reserve_metadata_snap message failed.");
    return rc;
}

static int message_release(struct dmi_sim *sim, struct thin_metadata *metadata, char **argv)
{
    (void)argv;
    int rc = sim_thin_metadata_release(sim, metadata);
    if (rc < 0)
        sim_log(sim, "thin", "release_metadata_snap message failed.");
    return rc;
}

int sim_thin_pool_message(struct thin_pool *pool, unsigned int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned int argc;
        int (*run)(struct dmi_sim *, struct thin_metadata *, char **);
    } messages[] = {
        {"create_thin", 2, message_create_thin},
        {"create_snap", 3, message_create_snap},
        {"delete", 2, message_delete},
        {"set_transaction_id", 3, message_set_transaction_id},
        {"reserve_metadata_snap", 1, message_reserve},
        {"release_metadata_snap", 1, message_release},
    };
    struct dmi_sim *sim = pool->device->sim;

    if (pool->features.read_only || pool->failed) {
        sim_log(sim, "thin", "%s: unable to service pool target messages in READ_ONLY or FAIL mode",
                pool->device->number);
        return -EOPNOTSUPP;
    }
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        if (strcasecmp(argv[0], messages[i].name) == 0) {
            int rc = count_words(sim, argc, messages[i].argc);
            return rc < 0 ? rc : messages[i].run(sim, pool->metadata, argv);
        }
    sim_log(sim, "thin", "Unrecognised thin pool target message received: %s", argv[0]);
    return -EINVAL;
}
