/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration's keys, inside src/host. */
#ifndef GW_CONFIG_H
#define GW_CONFIG_H

#include "host-internal.h"

typedef enum {
    GW_CONFIG_PATH,
    GW_CONFIG_LIST,
    GW_CONFIG_PATHS,
    GW_CONFIG_ADDRESSES,
    GW_CONFIG_NETWORKS,
    GW_CONFIG_FLAG,
    GW_CONFIG_NUMBER,
} GwConfigType;

typedef struct {
    const char *group, *key;
    GwConfigType type;
    gsize offset; /* in GwHostConfig */
    gint64 min, max;
    enum { GW_CONFIG_ALWAYS, GW_CONFIG_START } when;
} GwConfigKey;

enum {
#define X(group, key, type, field, min, max, when) GW_CONFIG_KEY_##field,
#include "config.def"
#undef X
    GW_N_CONFIG_KEYS
};

/* config_file.c */
extern const GwConfigKey gw_config_keys[GW_N_CONFIG_KEYS];

static inline gpointer
gw_config_field (GwHostConfig *config, const GwConfigKey *key)
{
    return (char *) config + key->offset;
}

/* config.c: frees what the field has. */
void gw_config_clear_field (GwHostConfig *config, const GwConfigKey *key);

#endif
