/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { T_SIZE, T_KIND, T_ORDER, T_CMD, T_TEXT } ParamType;

/* The table of parameters: name on the kernel's command line, type, place and default. */
static const struct {
    const char *name;
    ParamType type;
    size_t offset;
    const char *preset;
} table[] = {
#define AT(field) offsetof (GuestParams, field)
    { "mem",          T_SIZE,  AT (mem_bytes),      "16M"    },
    { "fill",         T_SIZE,  AT (fill_bytes),     "0"      },
    { "dirty",        T_SIZE,  AT (dirty_bps),      "0"      },
    { "check",        T_SIZE,  AT (check_bps),      "20M/s"  },
    { "diskrate",     T_SIZE,  AT (diskrate),       "0"      },
    { "diskspan",     T_SIZE,  AT (diskspan_bytes), "1M"     },
    { "diskbulk",     T_SIZE,  AT (diskbulk_bytes), "0"      },
    { "seed",         T_SIZE,  AT (seed),           "1"      },
    { "content",      T_KIND,  AT (content),        "random" },
    { "fill_content", T_KIND,  AT (fill_content),   "text"   },
    { "order",        T_ORDER, AT (is_random),      "random" },
    { "cmd",          T_CMD,   AT (is_commanded),   "report" },
    { "tick",         T_TEXT,  AT (tick),           ""       },
    { "report",       T_TEXT,  AT (report),         ""       },
    { "disk",         T_TEXT,  AT (disk),           ""       },
    { "fs",           T_TEXT,  AT (fs),             ""       },
    { "run",          T_TEXT,  AT (run),            ""       },
#undef AT
};

bool
guest_parse_size (const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    unsigned shift = 0;
    char *end;
    const char *unit;
    unsigned long long number;

    if (strcmp (text, "max") == 0) {
        *value = UINT64_MAX;
        return true;
    }
    if (text[0] < '0' || text[0] > '9')
        return false;
    number = strtoull (text, &end, 0);
    unit = *end != '\0' ? strchr (units, *end) : NULL;
    if (unit != NULL) {
        shift = 10 * (unsigned) (unit - units + 1);
        end++;
    }
    if ((*end != '\0' && strcmp (end, "/s") != 0) || number > UINT64_MAX >> shift)
        return false;
    *value = (uint64_t) number << shift;
    return true;
}

static bool
parse_value (ParamType type, const char *text, void *at)
{
    uint64_t *number = at;

    switch (type) {
    case T_SIZE:
        return guest_parse_size (text, number);
    case T_KIND:
        *number = guest_kind_from_name (text);
        return *number < GUEST_N_KINDS;
    case T_ORDER:
        *number = strcmp (text, "random") == 0;
        return *number == 1 || strcmp (text, "sequential") == 0;
    case T_CMD:
        *number = strcmp (text, "report") == 0;
        return *number == 1 || strcmp (text, "none") == 0;
    case T_TEXT:
        if (strlen (text) >= sizeof ((GuestParams *) 0)->tick)
            return false;
        strcpy (at, text);
        return true;
    }
    return false;
}

static bool
parse_word (const char *word, GuestParams *params)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t len = strlen (table[i].name);
        if (strncmp (word, table[i].name, len) == 0 && word[len] == '=')
            return parse_value (table[i].type, word + len + 1, (char *) params + table[i].offset);
    }
    return false;
}

bool
guest_params_parse (const char *line, GuestParams *params, char *bad)
{
    memset (params, 0, sizeof *params);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!parse_value (table[i].type, table[i].preset, (char *) params + table[i].offset))
            abort ();
    while (*line != '\0') {
        char word[128];
        size_t len = strcspn (line, " \n");
        (void) snprintf (word, sizeof word, "%.*s", (int) (len < 127 ? len : 127), line);
        if (strncmp (word, "gw.", 3) == 0 && (len > 126 || !parse_word (word + 3, params))) {
            (void) snprintf (bad, 64, "%.63s", word);
            return false;
        }
        line += len + strspn (line + len, " \n");
    }
    return true;
}
