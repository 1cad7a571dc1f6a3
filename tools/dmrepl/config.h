/* SPDX-License-Identifier: GPL-2.0-only */
/* What is known of a pair without asking the kernel: /etc/dmrepl.d/NAME.conf. */
#ifndef DMREPL_CONFIG_H
#define DMREPL_CONFIG_H

#include "util.h"

#define CONFIG_DIR	"/etc/dmrepl.d"

enum key_id {
	KEY_ACTIVE, KEY_HIDDEN, KEY_SECONDARY, KEY_METADATA, KEY_REPLICA, KEY_LOCAL,
	KEY_GROUP, KEY_HOLD_MIB, KEY_ON_CAPTURE_ERROR, KEY_CHECKPOINT_TIMEOUT_MS,
	KEY_COMMIT_RATE_MIB, KEY_RESYNC_RATE_MIB, KEY_REPLICA_TIMEOUT_MS,
	KEY_AUTOSTART, KEY_DISCARD_PASSDOWN, KEY_GUARDED, KEY_IN_SYNC, KEY_VOLUMES,
	KEYS,
};

enum key_kind { DEVICE, NUMBER, WORD, SWITCH };

enum key_mode { OF_VIEW = 1, OF_PRIMARY = 2, OF_TABLE = 4, MUST = 8 };

struct key {
	const char *name, *arg;
	enum key_kind kind;
	unsigned int mode;
	const char *help;
};

extern const struct key keys[KEYS];

/* Values as words; of a switch "on" or NULL. */
struct pair {
	char *name;
	char *value[KEYS];
};

static inline bool is_primary(const struct pair *pair)
{
	return !!pair->value[KEY_REPLICA];
}

void pair_free(struct pair *pair);
/* Puts a value into the pair, or says what is wrong with it. */
const char *pair_set(struct pair *pair, enum key_id key, const char *value);
/* What is missing or does not go together, to be freed; NULL: nothing. */
char *pair_wrong(const struct pair *pair);

char *config_path(const char *name);
bool config_exists(const char *name);
int config_read(const char *name, struct pair *pair);
int config_write(const struct pair *pair);
int config_remove(const char *name);
int config_names(struct words *names);

/* Writes a file so that after a power cut it is the old one or the new one, whole. */
int write_durably(const char *path, const char *text);
/* The same for a file of dmrepl's own: makes the folder if it is not there. */
int write_kept(const char *path, const char *text);
int remove_durably(const char *path);
/* Makes a change of the folder that @path is in durable. */
int sync_folder(const char *path);

/* Reads "key = value" lines of a file in sections; @take says what is wrong, or NULL. */
typedef const char *take_fn(void *to, const char *section, const char *key,
			    const char *value);
int read_keys(const char *path, take_fn *take, void *to);

#endif
