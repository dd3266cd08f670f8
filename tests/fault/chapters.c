/*
 * chapters.c - what is done in each life: together, every call of the public
 * store, about three hundred times.
 *
 * Knows life.h only; must never know which call fails.
 */
#include "chapters.h"

#define FAR_FUTURE_MS ((int64_t)4102444800000)
#define LONG_AGO_MS   ((int64_t)1)

static toon_slice text_of(life *l, unsigned seed, size_t size) {
    return life_bytes(l, seed, size, true);
}

static toon_slice binary_of(life *l, unsigned seed, size_t size) {
    return life_bytes(l, seed, size, false);
}

/* ------------------------------------------------------------ values, keys */

static void values(life *l) {
    life_open(l);
    life_get(l, "nothing");
    life_put(l, "a", "one");
    life_put(l, "empty", "");
    life_put(l, "number", "42");
    life_put(l, "quoted", " two\nlines, \"q\"");
    life_set(l, "binary", binary_of(l, 1, 300));
    life_set(l, "long", text_of(l, 2, 20000));
    life_set_with(l, toon_str(""), toon_str("of the empty key"),
                  (toon_set_options){0});
    life_set_with(l, toon_bytes("\xff\0\xfe", 3), toon_str("of a binary key"),
                  (toon_set_options){0});
    life_set_with(l, text_of(l, 3, 290), toon_str("of a long key"),
                  (toon_set_options){0});
    life_put(l, "dir/b", "two");
    life_put(l, "dir/c", "three");
    life_put(l, "a", "one, again");
    life_get(l, "a");
    life_get(l, "long");
    life_read(l, "binary");
    life_read(l, "nothing");
    life_stat(l, "long");
    life_stat(l, "nothing");
    life_pin(l, "long", 0);
    life_pin(l, "a", 1);
    life_scan(l, "", false);
    life_scan(l, "dir/", true);
    life_range(l, "", true);
    life_range(l, "dir/", false);
    life_read_together(l);
    life_delete(l, "long");
    life_delete(l, "nothing");
    life_put(l, "dir/d", "after the order was built");
    life_range(l, "dir/", true);
    life_sync(l);
    life_put(l, "z", "after a sync");
    life_close(l);
    life_check(l);
    life_open(l);
    life_get(l, "z");
    life_get(l, "binary");
    life_range(l, "", false);
}

static void options_and_times(life *l) {
    life_open_quietly(l);
    life_put(l, "k", "v");
    life_set_with(l, toon_str("run.sh"), toon_str("#!/bin/sh\n"),
                  (toon_set_options){.flags = TOON_SET_MODE, .mode = 0755});
    life_set_with(
        l, toon_str("link"), toon_str("run.sh"),
        (toon_set_options){.flags = TOON_SET_MODE, .mode = TOON_MODE_SYMLINK});
    life_set_with(l, toon_str("session"), toon_str("tok"),
                  (toon_set_options){.expires_ms = FAR_FUTURE_MS});
    life_set_with(l, toon_str("session"), toon_str("tok2"),
                  (toon_set_options){.flags = TOON_SET_KEEP_EXPIRY});
    life_set_with(l, toon_str("old"), toon_str("times"),
                  (toon_set_options){.written_ms = 1000});
    life_put(l, "run.sh", "#!/bin/bash\n");
    life_put(l, "link", "a file now");
    life_set_with(l, toon_str("k"), toon_str("w"),
                  (toon_set_options){.flags = TOON_SET_IF_ABSENT});
    life_set_with(l, toon_str("n"), toon_str("w"),
                  (toon_set_options){.flags = TOON_SET_IF_ABSENT});
    life_set_with(l, toon_str("m"), toon_str("w"),
                  (toon_set_options){.flags = TOON_SET_IF_PRESENT});
    life_set_if_same(l, "k", "the third");
    life_exchange_value(l, "k", "the fourth", 0);
    life_exchange_value(l, "fresh", "new", 0);
    life_exchange_value(l, "k", "refused", TOON_SET_IF_ABSENT);
    life_meta(l, "k", TOON_META_MODE, (toon_meta){.mode = 0600});
    life_meta(l, "k", TOON_META_EXPIRES,
              (toon_meta){.expires_ms = FAR_FUTURE_MS});
    life_meta(l, "k", TOON_META_EXPIRES, (toon_meta){.expires_ms = 0});
    life_meta(l, "k", TOON_META_WRITTEN, (toon_meta){.written_ms = 5});
    life_meta(l, "nothing", TOON_META_MODE, (toon_meta){.mode = 0600});
    life_meta(l, "old", TOON_META_EXPIRES,
              (toon_meta){.expires_ms = LONG_AGO_MS});
    life_set_with(l, toon_str("gone"), toon_str("at once"),
                  (toon_set_options){.expires_ms = LONG_AGO_MS});
    life_set_with(l, toon_str("session2"), toon_str("at once"),
                  (toon_set_options){.expires_ms = LONG_AGO_MS});
    life_expire(l);
    life_get(l, "gone");
    life_take(l, "fresh");
    life_add(l, "row");
    life_put(l, "30", "set by hand");
    life_add(l, "another row");
    life_close(l);
    life_open(l);
    life_get(l, "session");
    life_add(l, "a third row");
}

/* --------------------------------------------------------- appends, renames */

static void appends(life *l) {
    life_open_quietly(l);
    life_append(l, "log", toon_str("line 1\n"));
    life_append(l, "log", toon_str("line 2\n"));
    life_get(l, "log");
    life_append(l, "log", binary_of(l, 4, 100));
    life_append(l, "log", toon_str(""));
    life_set_with(l, toon_str("run"), toon_str("#!"),
                  (toon_set_options){.flags = TOON_SET_MODE, .mode = 0755});
    life_append(l, "run", toon_str("/bin/sh\n"));
    life_append(l, "run", toon_str("true\n"));
    life_rename(l, "log", "log.1", 0);
    life_append(l, "log.1", toon_str("after a rename"));
    for (int i = 0; i < 70; i++) /* past a merge */
        life_append(l, "many", toon_str("0123456789"));
    life_stat(l, "many");
    life_get(l, "many");
    life_meta(l, "many", TOON_META_MODE, (toon_meta){.mode = 0640});
    life_append(l, "many", toon_str("with a mode"));
    life_set(l, "long", text_of(l, 5, 70000)); /* is not kept in the cache */
    life_append(l, "long", text_of(l, 6, 1000));
    life_pin(l, "many", 0);
    life_close(l);
    life_open(l);
    life_append(l, "many", toon_str("reopened"));
    life_append(l, "long", toon_str("reopened"));
    life_read(l, "long");
    life_stat(l, "long");
    life_delete(l, "many");
}

static void renames(life *l) {
    life_open_quietly(l);
    life_put(l, "a", "the first");
    life_put(l, "b", "the second");
    life_range(l, "", false);
    life_watch(l);
    life_rename(l, "a", "c", 0);
    life_rename(l, "c", "b", TOON_RENAME_NO_REPLACE);
    life_rename(l, "c", "b", TOON_RENAME_EXCHANGE);
    life_rename(l, "c", "b", 0);
    life_rename(l, "b", "b", 0);
    life_rename(l, "nothing", "b", 0);
    life_rename(l, "b", "nothing", TOON_RENAME_EXCHANGE);
    life_set_with(l, toon_str("s"), toon_str("with all"),
                  (toon_set_options){.flags = TOON_SET_MODE,
                                     .mode = 0700,
                                     .expires_ms = FAR_FUTURE_MS,
                                     .written_ms = 7000});
    life_rename(l, "s", "t", 0);
    life_rename(l, "t", "u", 0);
    life_append(l, "u", toon_str(", and more"));
    life_rename(l, "u", "b", TOON_RENAME_EXCHANGE);
    life_put(l, "b", "new");
    life_delete(l, "u");
    life_unwatch(l);
    life_get(l, "b");
}

/* ------------------------------------------------------------------ groups */

static void some_changes(life *l) {
    life_put(l, "x", "in a group");
    life_append(l, "x", toon_str(", longer"));
    life_put(l, "kept", "changed");
    life_delete(l, "gone");
    life_rename(l, "from", "to", 0);
    life_meta(l, "x", TOON_META_MODE, (toon_meta){.mode = 0600});
    life_set_with(l, toon_str("y"), toon_str("expires"),
                  (toon_set_options){.expires_ms = FAR_FUTURE_MS});
    life_get(l, "x");
}

static void undo_changes(life *l) {
    life_put(l, "kept", "back");
    life_put(l, "gone", "back");
    life_rename(l, "to", "from", 0);
    life_delete(l, "x");
    life_delete(l, "y");
}

static void nothing_changes(life *l) {
    life_get(l, "x");
    life_delete(l, "nothing");
}

static void groups(life *l) {
    life_open_quietly(l);
    life_put(l, "kept", "as it was");
    life_put(l, "gone", "for now");
    life_put(l, "from", "a value on the move");
    life_batch(l, some_changes);
    life_watch(l);
    life_batch(l, undo_changes);
    life_cancelled_batch(l, some_changes);
    life_batch(l, nothing_changes);
    life_range(l, "", true);
    life_gather(l, some_changes);
    life_gather(l, undo_changes);
    life_cancelled_batch(l, some_changes);
    life_gather(l, nothing_changes);
    life_gather(l, some_changes);
    life_sync(l);
    life_gather(l, undo_changes);
    life_unwatch(l);
}

static void under_always(life *l) {
    l->options.sync = TOON_SYNC_ALWAYS;
    life_open_quietly(l);
    life_put(l, "kept", "as it was");
    life_put(l, "gone", "for now");
    life_put(l, "from", "a value on the move");
    life_append(l, "log", toon_str("line\n"));
    life_rename(l, "log", "log.1", 0);
    life_delete(l, "log.1");
    life_batch(l, some_changes);
    life_gather(l, undo_changes);
    life_sync(l);
    life_add(l, "a row");
}

static void without_cache(life *l) {
    l->options.cache_policy = TOON_CACHE_NONE;
    life_open_quietly(l);
    life_put(l, "kept", "as it was");
    life_put(l, "gone", "for now");
    life_put(l, "from", "a value on the move");
    life_set(l, "binary", binary_of(l, 7, 3000));
    life_append(l, "log", toon_str("1"));
    life_append(l, "log", toon_str("2"));
    life_batch(l, some_changes);
    life_gather(l, undo_changes);
    life_get(l, "log");
    life_read(l, "log");
    life_stat(l, "binary");
    life_exchange_value(l, "log", "3", 0);
    life_scan(l, "", true);
}

static void with_lru(life *l) {
    l->options.cache_policy = TOON_CACHE_LRU;
    l->options.cache_entries_max = 3;
    life_open_quietly(l);
    life_put(l, "a", "1");
    life_put(l, "b", "2");
    life_put(l, "c", "3");
    life_get(l, "a");
    life_put(l, "d", "4");
    life_put(l, "e", "5");
    life_get(l, "b");
    life_pin(l, "c", 0);
    life_append(l, "c", toon_str("3"));
    life_delete(l, "a");
}

/* ---------------------------------------------------------- opening, swaps */

/* Lives of a store that was killed, torn, robbed of its index. */
static void openings(life *l) {
    life_open(l);
    life_put(l, "a", "1");
    life_set_with(l, toon_str("e"), toon_str("2"),
                  (toon_set_options){.expires_ms = FAR_FUTURE_MS});
    life_append(l, "a", toon_str("more"));
    life_close(l);
    life_open(l);
    life_put(l, "from", "tail");
    life_put(l, "kept", "tail");
    life_put(l, "gone", "tail");
    life_batch(l, some_changes);
    life_sync(l);
    life_put(l, "tail", "behind the index");
    life_kill(l);
    life_open(l); /* the tail behind the index */
    life_put(l, "after", "a kill");
    life_close(l);
    life_forget_index(l);
    life_open(l); /* all of the log */
    life_put(l, "after", "the index was lost");
    life_close(l);
    life_tear(l);
    l->has_before = false;
    life_open(l); /* cuts */
    life_put(l, "after", "a torn end");
    life_close(l);
    life_check(l);
    l->options.flags = TOON_OPEN_READ_ONLY;
    life_open(l);
    life_get(l, "after");
    life_close(l);
    l->options.flags = 0;
}

static void fill(life *l) {
    for (char key[] = "a"; key[0] < 'k'; key[0]++)
        life_put(l, key, "value");
    for (char key[] = "a"; key[0] < 'e'; key[0]++)
        life_append(l, key, toon_str(", grown"));
    life_put(l, "b", "dead bytes now");
    life_rename(l, "c", "moved", 0);
    life_set_with(l, toon_str("e"), toon_str("expires"),
                  (toon_set_options){.expires_ms = FAR_FUTURE_MS});
    life_delete(l, "f");
}

static void clearing(life *l) {
    life_open_quietly(l);
    fill(l);
    life_watch(l);
    life_range(l, "", false);
    life_pin(l, "a", 0);
    life_clear(l);
    life_put(l, "new", "life");
    life_clear(l);
    life_put(l, "newer", "life");
    life_add(l, "row");
    life_close(l);
    life_open(l);
    life_add(l, "row");
}

static void compacting(life *l) {
    life_open_quietly(l);
    fill(l);
    life_pin(l, "a", 0);
    life_watch(l);
    life_compact(l);
    life_get(l, "a");
    fill(l);
    life_range(l, "", true);
    life_compact(l);
    life_append(l, "a", toon_str(", after"));
    life_add(l, "row");
    life_close(l);
    life_open(l);
    life_get(l, "a");
}

static void copying(life *l) {
    life_open_quietly(l);
    fill(l);
    life_copy(l);
    life_put(l, "a", "since the copy");
    life_copy(l);
}

/* Of a store that others may write. */
static void copying_a_snapshot(life *l) {
    life_open_quietly(l);
    fill(l);
    life_close(l);
    l->options.flags = TOON_OPEN_READ_ONLY;
    life_open_quietly(l);
    life_copy(l);
    life_close(l);
    l->options.flags = 0;
}

static void repairing(life *l) {
    l->quiet = true;
    life_open(l);
    life_put(l, "victim", "what a disk forgets");
    fill(l);
    life_close(l);
    life_damage(l, "what a disk forgets");
    l->quiet = false;
    life_check_damaged(l);
    life_repair(l, "victim");
    life_repair(l, "victim"); /* sound: nothing to be done */
    life_open(l);
    life_put(l, "after", "a repair");
}

const chapter chapters[] = {
    {"values", values},
    {"options", options_and_times},
    {"appends", appends},
    {"renames", renames},
    {"groups", groups},
    {"always", under_always},
    {"uncached", without_cache},
    {"lru", with_lru},
    {"openings", openings},
    {"clearing", clearing},
    {"compacting", compacting},
    {"copying", copying},
    {"snapshot", copying_a_snapshot},
    {"repairing", repairing},
};
const size_t chapters_count = sizeof chapters / sizeof chapters[0];
